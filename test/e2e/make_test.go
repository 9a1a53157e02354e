package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// component is a line of make status.
type component struct {
	health   string
	pid      int
	restarts int
}

// status returns the node's components in make status, by name.
func status() (map[string]component, error) {
	printed, err := attempt("make", "-s", "status")
	if err != nil {
		return nil, err
	}
	table, _, _ := strings.Cut(printed, "\n\n")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	columns := regexp.MustCompile(`\s{2,}`)
	header := columns.Split(strings.TrimSpace(lines[0]), -1)
	components := map[string]component{}
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
		components[cells["COMPONENT"]] = component{health: cells["HEALTH"], pid: pid, restarts: restarts}
	}
	return components, nil
}

// componentNames returns the components that run on every node of the platform.
func componentNames() []string {
	return []string{
		"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-router", "kube-scheduler",
		"kubelet", "registry", "storage-provisioner",
	}
}

func TestStatusShowsEveryComponentHealthy(t *testing.T) {
	components, err := status()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range componentNames() {
		if _, listed := components[name]; !listed {
			t.Errorf("%s is not listed", name)
		}
	}
	for name, is := range components {
		if is.health != "healthy" || is.pid == 0 {
			t.Errorf("%s is %q (process %d), want healthy", name, is.health, is.pid)
		}
	}
}

func TestStatusShowsTheStackAndTheURL(t *testing.T) {
	printed := output(t, "make", "-s", "status")
	for _, want := range []string{
		"stack local", "api-gateway", "user-service", "order-service", "notification-service",
		"postgres", "redis-cache", "redis-stream", "edge", gateway().base,
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("make status doesn't print %q", want)
		}
	}
}

func TestMakeListsTheTargets(t *testing.T) {
	printed := output(t, "make")
	for _, target := range []string{"up", "stop", "down", "status", "logs", "env", "token", "help"} {
		described := regexp.MustCompile(`(?m)^\s*make ` + target + `\s+\S+`)
		if !described.MatchString(printed) {
			t.Errorf("make doesn't list %s with a description", target)
		}
	}
}

func TestLogsOfAnUnknownComponentListsTheComponents(t *testing.T) {
	_, err := attempt("make", "-s", "logs", "C=kublet")
	if err == nil {
		t.Fatal("make logs C=kublet succeeds")
	}
	for _, want := range append(componentNames(), `"kublet"`) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't name %s: %v", want, err)
		}
	}
}
