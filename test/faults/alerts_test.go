package faults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// outage is a fault that users feel, and the page for it.
type outage struct {
	alert string
	lasts time.Duration
	begin func(t *testing.T) (end func())
}

// Every outage that users feel pages once within two minutes. The alerts that follow from it are inhibited, also after its end.
func TestOutagePagesOnce(t *testing.T) {
	for name, outage := range map[string]outage{
		// The liveness probe restarts the container after 160 s.
		"Postgres accepts connections and never responds": {"PostgresDown", 2 * time.Minute, stops("postgres")},
		// The liveness probe restarts the container after a minute.
		"DNS never responds":                                 {"DnsDown", time.Minute, stops("coredns")},
		"the edge has no replica":                            {"EdgeDown", 90 * time.Second, noReplica("edge", "edge")},
		"the public address leads nowhere":                   {"EdgeUnreachable", 2 * time.Minute, selects("edge", "edge", "app.kubernetes.io/name")},
		"the live Service selects a colour that doesn't run": {"LiveColourDown", 2 * time.Minute, selects("apps", "order-service", "colour")},
		"the stream has no append-only file":                 {"StreamNotPersisting", 2 * time.Minute, withoutAppendOnlyFile},
	} {
		t.Run(name, func(t *testing.T) { outage.pagesOnce(t) })
	}
}

// pagesOnce makes the outage under load. Only its alert may page, until four minutes after its end.
func (o outage) pagesOnce(t *testing.T) {
	run := kit.StartLoad(t)
	defer func() {
		run.Stop()
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	awaitNoPage(t)
	const grouped = 6 * time.Second // after this time, Alertmanager has sent a page
	began := time.Now()
	since, paged := map[string]time.Time{}, map[string]time.Duration{}
	watch := func(until time.Time) {
		for ; time.Now().Before(until); time.Sleep(time.Second) {
			firing, err := kit.Alerts(`severity="page"`)
			if err != nil {
				t.Log(err) // without DNS or the edge, a request may fail
				continue
			}
			for name := range since {
				if !firing[name] {
					delete(since, name)
				}
			}
			for name := range firing {
				if since[name].IsZero() {
					since[name] = time.Now()
				}
				if _, known := paged[name]; !known && time.Since(since[name]) > grouped {
					paged[name] = time.Since(began).Round(time.Second)
				}
			}
		}
	}
	end := sync.OnceFunc(o.begin(t))
	t.Cleanup(end)
	watch(began.Add(o.lasts))
	end()
	watch(began.Add(o.lasts + 4*time.Minute))
	t.Logf("pages: %v", paged)
	if len(paged) != 1 || paged[o.alert] == 0 || paged[o.alert] > 2*time.Minute {
		t.Errorf("pages after %v, want one of %s within two minutes", paged, o.alert)
	}
	if len(since) > 0 {
		t.Errorf("four minutes after the outage, these pages fire: %v", since)
	}
}

func awaitNoPage(t *testing.T) {
	t.Helper()
	kit.Eventually(t, 6*time.Minute, "no page fires", func() error {
		firing, err := kit.Alerts(`severity="page"`)
		if err == nil && len(firing) > 0 {
			err = fmt.Errorf("pages fire: %v", firing)
		}
		return err
	})
}

// stops suspends the processes of a program in pods.
func stops(program string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		var suspended []kit.Process
		for _, process := range kit.Processes(t) {
			if name, _ := os.ReadFile(process.Path("comm")); strings.TrimSpace(string(name)) == program && process.InPod() {
				suspended = append(suspended, process)
			}
		}
		if len(suspended) == 0 {
			t.Fatalf("no process of %s runs", program)
		}
		signal := func(signal syscall.Signal) {
			for _, process := range suspended {
				_ = syscall.Kill(int(process), signal) // it may have ended
			}
		}
		signal(syscall.SIGSTOP)
		return func() { signal(syscall.SIGCONT) }
	}
}

// noReplica scales a Deployment to 0. Its autoscaler is then inactive.
func noReplica(namespace, deployment string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		kit.Scale(t, namespace, "deployment/"+deployment, 0)
		return func() {
			kit.Scale(t, namespace, "deployment/"+deployment, 1)
			kit.Output(t, "kubectl", "rollout", "status", "--namespace="+namespace, "deployment/"+deployment, "--timeout=2m")
		}
	}
}

// selects changes a key of a Service's selector to a value that no pod has.
func selects(namespace, service, key string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		value := kit.Output(t, "kubectl", "get", "service", service, "--namespace="+namespace,
			"--output=jsonpath={.spec.selector."+strings.ReplaceAll(key, ".", `\.`)+"}")
		set := func(value string) {
			kit.Output(t, "kubectl", "patch", "service", service, "--namespace="+namespace, "--type=merge",
				fmt.Sprintf(`--patch={"spec":{"selector":{%q:%q}}}`, key, value))
		}
		set("none")
		return func() { set(value) }
	}
}

// withoutAppendOnlyFile turns the stream's append-only file off, as somebody might to save disk.
func withoutAppendOnlyFile(t *testing.T) func() {
	set := func(value string) {
		kit.Output(t, "kubectl", "exec", "--namespace=data", "statefulset/redis-stream", "--", "sh", "-c",
			`REDISCLI_AUTH=$(cut -d, -f1 /run/secrets/admin/password) && export REDISCLI_AUTH && exec redis-cli -s /run/redis/redis.sock --user admin "$@"`,
			"sh", "CONFIG", "SET", "appendonly", value)
	}
	set("no")
	return func() { set("yes") }
}

// Clients whose tokens are refused, or whose requests exceed a limit, page although nothing returns 5xx.
func TestRefusedRequestsPage(t *testing.T) {
	awaitNoPage(t)
	api, stop := kit.Gateway(), make(chan struct{})
	var clients sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); clients.Wait() })
	defer end()
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(200 * time.Millisecond):
					_, _ = api.Call(http.MethodGet, "/api/users/me", "no token", nil)
				}
			}
		})
	}
	began := time.Now()
	kit.Eventually(t, 150*time.Second, "refused requests page", func() error {
		firing, err := kit.Alerts(`severity="page"`)
		if err == nil && !firing["EdgeRefusing"] {
			err = fmt.Errorf("pages: %v", firing)
		}
		return err
	})
	t.Logf("firing after %.0f s", time.Since(began).Seconds())
	end()
	awaitNoPage(t)
}
