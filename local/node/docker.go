package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"platform.example/local/supervisor"
)

const machineDockerSocket = "/var/run/docker.sock"

// machineDocker returns the address of the machine's own Docker Engine, or "" if the machine has none. An engine that exists but
// doesn't respond is an error.
func machineDocker(ctx context.Context) (string, error) {
	if host := os.Getenv("DOCKER_HOST"); host != "" && !strings.HasPrefix(host, "unix:///var/lib/platform/") {
		socket, ok := strings.CutPrefix(host, "unix://")
		if !ok {
			return "", fmt.Errorf("DOCKER_HOST is %s: the local node needs an engine on this machine: unset it, or set it to unix://<socket>", host)
		}
		if err := pingDocker(ctx, socket); err != nil {
			return "", fmt.Errorf("the Docker Engine at DOCKER_HOST=%s does not respond (%w): start it, or unset DOCKER_HOST", host, err)
		}
		return host, nil
	}
	err := pingDocker(ctx, machineDockerSocket)
	switch {
	case err == nil:
		return "unix://" + machineDockerSocket, nil
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "", nil
	default:
		return "", fmt.Errorf("the Docker Engine at %s exists but does not respond (%w): restart it (systemctl restart docker) or stop it, then run make up again",
			machineDockerSocket, err)
	}
}

// dockerSocket is the socket of the node's own engine.
func (n *Node) dockerSocket() string { return n.path("run", "docker.sock") }

func pingDocker(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	return get(ctx, client, "http://docker/_ping")
}

// ensureDocker uses the machine's Docker Engine, or starts the node's own engine on its containerd.
func (n *Node) ensureDocker(ctx context.Context) error {
	running, err := machineDocker(ctx)
	if err != nil {
		return err
	}
	if running != "" {
		n.Docker = running
		n.log.Say("using the Docker Engine at %s", running)
		return nil
	}
	n.Docker = "unix://" + n.dockerSocket()
	return n.start(ctx, n.dockerComponent())
}

// dockerComponent is a Docker Engine that only builds and pushes images. Images FROM scratch need no network, so it changes
// neither interfaces nor iptables.
func (n *Node) dockerComponent() component {
	return component{name: "dockerd", args: []string{
		"--host", "unix://" + n.dockerSocket(), "--containerd", n.containerdSocket(),
		"--data-root", n.path("docker"), "--exec-root", n.path("run", "docker"), "--pidfile", n.path("run", "docker.pid"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--log-level", "warn",
		// With systemd's driver, which is the default on a machine with systemd, the parent would have to be a slice.
		"--cgroup-parent", "/" + Name + "/docker", "--exec-opt", "native.cgroupdriver=cgroupfs",
	}}
}

// Status is the state of one component.
type Status struct {
	supervisor.Status
	// Fault is the reason why the component isn't healthy, or nil.
	Fault error
}

// Status checks the health of every component.
func (n *Node) Status(ctx context.Context) ([]Status, error) {
	processes, err := n.supervisor.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("the node is not running: make up starts it")
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
		n.Docker = "unix://" + n.dockerSocket()
		return nil
	}
	docker, err := machineDocker(context.Background())
	n.Docker = docker
	return err
}
