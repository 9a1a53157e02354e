package kit

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Component is a line of make status about a component of the node.
type Component struct {
	Health   string
	PID      int
	Restarts int
}

// Status returns the node's components in make status, by name.
func Status() (map[string]Component, error) {
	printed, err := Run("make", "-s", "status")
	if err != nil {
		return nil, err
	}
	table, _, _ := strings.Cut(printed, "\n\n")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	columns := regexp.MustCompile(`\s{2,}`)
	header := columns.Split(strings.TrimSpace(lines[0]), -1)
	components := map[string]Component{}
	for _, line := range lines[1:] {
		cells := map[string]string{}
		for i, cell := range columns.Split(strings.TrimSpace(line), len(header)) {
			cells[header[i]] = cell
		}
		pid, pidErr := strconv.Atoi(cells["PROCESS"])
		restarts, restartsErr := strconv.Atoi(cells["RESTARTS"])
		if pidErr != nil || restartsErr != nil {
			return nil, fmt.Errorf("make status prints a line without PROCESS or RESTARTS: %q", line)
		}
		components[cells["COMPONENT"]] = Component{Health: cells["HEALTH"], PID: pid, Restarts: restarts}
	}
	return components, nil
}

// ComponentNames returns the components that run on every node of the platform.
func ComponentNames() []string {
	return []string{
		"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-router", "kube-scheduler",
		"kubelet", "registry", "storage-provisioner",
	}
}
