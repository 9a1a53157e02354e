package node

import (
	"context"
	"fmt"
	"os"

	"platform.example/local/supervisor"
)

// Status is how one component is.
type Status struct {
	supervisor.Status
	// Fault says why it isn't well.
	Fault error
}

// Status asks every component for its health.
func (n *Node) Status(ctx context.Context) ([]Status, error) {
	processes, err := n.supervisor.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("the node does not run: make up starts it")
	}
	var statuses []Status
	for _, process := range processes {
		status := Status{Status: process, Fault: n.probe(ctx, process.Name)}
		if !process.Running {
			status.Fault = fmt.Errorf("not running")
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

// FindDocker sets the address of the engine that the running node uses.
func (n *Node) FindDocker() error {
	if _, err := os.Stat(n.dockerSocket()); err == nil {
		n.docker = "unix://" + n.dockerSocket()
		return nil
	}
	docker, err := machineDocker(context.Background())
	n.docker = docker
	return err
}
