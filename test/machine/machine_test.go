// Package machine tests the local node on a machine as users have it: Debian 12 with systemd and cgroup v2, in an emulator.
package machine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestMain(m *testing.M) { kit.MainAsRoot(m, "only root can make the disk of the machine") }

// TestMachine is a sequence: each part starts in the state in which the previous part ended.
func TestMachine(t *testing.T) {
	g := newGuest(t)
	g.boot()
	if found := g.run("stat --file-system --format=%T /sys/fs/cgroup; ps -p 1 -o comm="); found != "cgroup2fs\nsystemd" {
		t.Fatalf("the machine has %q, want cgroup v2 and systemd", found)
	}
	before := g.look()
	for _, part := range []struct {
		name string
		test func(*testing.T, *guest)
	}{
		{"the node starts, and outlives the session", outlivesTheSession},
		{"a pod has its limits", podHasItsLimits},
		{"data survives a power failure", survivesPowerFailure},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			g.t = t
			part.test(t, g)
		}) {
			t.FailNow()
		}
	}
	g.t = t
	g.run("bin/local down")
	if after := g.look(); after != before {
		t.Errorf("down does not restore the machine.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// The machine kills all processes of a session when it ends.
func outlivesTheSession(t *testing.T, g *guest) {
	g.up()
	kit.Eventually(t, limit, "the session of up has ended", func() error {
		if sessions := g.run("loginctl list-sessions --no-legend"); strings.Contains(sessions, "\n") {
			return errors.New("there are still more sessions than this one:\n" + sessions)
		}
		return nil
	})
	g.run("kubectl wait --namespace=kube-system --for=condition=Available deployment --all --timeout=30m")
}

func podHasItsLimits(t *testing.T, g *guest) {
	g.run(`mkdir image && cp /bin/busybox image && printf 'FROM scratch\nCOPY busybox /busybox\n' >image/Dockerfile && ` +
		`export DOCKER_HOST=unix:///var/lib/platform/node/run/docker.sock DOCKER_BUILDKIT=0 && ` +
		`docker build --tag 127.0.0.1:5100/files:1 image && docker push 127.0.0.1:5100/files:1 && rm -r image`)
	pod, err := os.ReadFile("test/machine/testdata/pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	g.run("kubectl apply --filename=- <<'END'\n" + string(pod) + "END\n")
	g.inPod("true")
	if limits := g.inPod("cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"); limits != "67108864\n20000 100000" {
		t.Errorf("the pod's limits of memory and CPU are %q", limits)
	}
	if weight := g.run("cat /sys/fs/cgroup/platform/cpu.weight"); weight != "800" {
		t.Errorf("the CPU weight of all pods is %s, want 800", weight)
	}
}

// served fails the test unless the pod serves its data at the port of its Service on this machine.
func served(t *testing.T, g *guest) {
	t.Helper()
	kit.Eventually(t, limit, "the pod's data", func() error {
		printed, err := g.try(time.Minute, "busybox wget -q -O - http://127.0.0.1:30080/kept")
		if err != nil || printed != "precious\n" {
			return errors.Join(err, fmt.Errorf("the response is %q", printed))
		}
		return nil
	})
}

func survivesPowerFailure(t *testing.T, g *guest) {
	g.inPod("sh -c 'echo precious | /busybox dd of=/data/kept conv=fsync'")
	served(t, g)
	g.cutPower()
	g.boot()
	if after := g.look(); strings.Contains(after, "process: ") {
		t.Errorf("the machine starts processes by itself:\n%s", after)
	}
	g.up()
	served(t, g)
}
