package faults

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// awaitInstances waits until that many instances of Postgres are ready and the operator has nothing to do.
func awaitInstances(t *testing.T, want int) {
	t.Helper()
	kit.Eventually(t, 10*time.Minute, fmt.Sprintf("%d instances of Postgres are ready", want), func() error {
		status, err := kit.Run("kubectl", "get", "clusters.postgresql.cnpg.io", "--namespace=data",
			"--output=jsonpath={.items[0].status.readyInstances} {.items[0].status.instances} {.items[0].status.phase}")
		if err == nil && strings.TrimSpace(status) != fmt.Sprintf("%d %[1]d Cluster in healthy state", want) {
			err = fmt.Errorf("%s", status)
		}
		return err
	})
}

// setInstances changes the number of instances of a store by an update.
func setInstances(t *testing.T, change ...string) {
	t.Helper()
	kit.Output(t, slices.Concat([]string{"pulumi", "config"}, change, []string{"--path", "--stack", "local"})...)
	if printed, err := kit.RunFor(5*time.Minute, "pulumi", "up", "--yes", "--skip-preview", "--stack", "local"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
}

// cutOff lets the packets of a pod no longer leave it, nor arrive, except the probes of the kubelet.
func cutOff(t *testing.T, pod string) *fault {
	t.Helper()
	f := &fault{t: t}
	t.Cleanup(f.end)
	uid := kit.Output(t, "kubectl", "get", "pod", pod, "--namespace=data", "--output=jsonpath={.metadata.uid}")
	kubelet := kit.NodeAddresses(t)[0].String()
	iptables := func(change string) error {
		all := kit.Processes(t)
		at := slices.IndexFunc(all, func(p kit.Process) bool {
			groups, _ := os.ReadFile(p.Path("cgroup"))
			return strings.Contains(strings.ReplaceAll(string(groups), "_", "-"), uid)
		})
		if at < 0 {
			return errors.New("no process runs in " + pod)
		}
		for _, rule := range []string{
			"INPUT --in-interface lo --jump ACCEPT", "INPUT --protocol tcp --source " + kubelet + " --dport 8000 --jump ACCEPT", "INPUT --jump DROP",
			"OUTPUT --out-interface lo --jump ACCEPT", "OUTPUT --protocol tcp --destination " + kubelet + " --sport 8000 --jump ACCEPT", "OUTPUT --jump DROP",
		} {
			if _, err := kit.Run(append([]string{"nsenter", "--net=" + all[at].Path("ns/net"), "iptables", change}, strings.Fields(rule)...)...); err != nil {
				return err
			}
		}
		return nil
	}
	f.later(func() {
		if err := iptables("--delete"); err != nil {
			t.Log(err) // the pod was replaced
		}
	})
	if err := iptables("--append"); err != nil {
		t.Fatal(err)
	}
	return f
}

// The object store is away while users place orders: no request fails, and the archive is complete again by itself afterwards.
func TestArchiveCatchesUpAfterAnOutageOfTheObjectStore(t *testing.T) {
	const waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
	run, objects := kit.StartLoad(t), &fault{t: t}
	t.Cleanup(objects.end)
	objects.noReplica("data", "statefulset/object-store")
	const files = 6 // of the write-ahead log, each with orders
	for range files {
		time.Sleep(15 * time.Second)
		sql(t, "SELECT pg_switch_wal()")
	}
	if now := sql(t, waiting); now < fmt.Sprint(files-1) || len(now) > 1 {
		t.Errorf("%s files wait, want about %d: the object store isn't away", now, files)
	}
	last := sql(t, "SELECT pg_walfile_name(pg_current_wal_lsn() - 1)")
	objects.end()
	kit.Eventually(t, 5*time.Minute, last+" and all files before it are archived", func() error {
		sql(t, "SELECT pg_switch_wal()")
		if now := sql(t, "SELECT last_archived_wal FROM pg_stat_archiver"); now < last {
			return fmt.Errorf("%s is archived last, %s wait", now, sql(t, waiting))
		}
		return nil
	})
	kit.EndOutage(t, run)
}

// sql runs a statement as the superuser of Postgres.
func sql(t *testing.T, statement string) string {
	t.Helper()
	printed, err := kit.SQL("postgres", statement, "")
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

func TestFailoverLosesNoAcknowledgedOrder(t *testing.T) {
	if _, err := kit.Run("make", "data-switchover"); err == nil || !strings.Contains(err.Error(), "has one instance, and no standby") {
		t.Errorf("without a standby: %v", err)
	}
	setInstances(t, "set", "platform:postgres.instances", "3")
	t.Cleanup(func() {
		setInstances(t, "rm", "platform:postgres.instances")
		awaitInstances(t, 1)
	})
	awaitInstances(t, 3)
	killed := func(pod string) {
		kit.Output(t, "kubectl", "delete", "pod", pod, "--namespace=data", "--force", "--grace-period=0")
	}
	const planned = "the primary moves to a standby"
	for name, fault := range map[string]func(primary string){
		"the primary is killed": killed,
		planned: func(primary string) {
			printed, err := kit.Run("make", "data-switchover")
			now, failed := kit.Primary()
			if err = errors.Join(err, failed); err != nil || now.Metadata.Name == primary ||
				!strings.Contains(printed, now.Metadata.Name+" is the primary of ") || !strings.Contains(printed, primary+" is a standby") {
				t.Errorf("%v\n%s", err, printed)
			}
			t.Log(printed)
		},
		"the volume of the primary is deleted": func(primary string) {
			kit.Output(t, "kubectl", "delete", "pvc", primary, "--namespace=data", "--wait=false")
			killed(primary)
		},
		"the network of the primary is cut": func(primary string) {
			network := cutOff(t, primary)
			kit.Eventually(t, 3*time.Minute, "another pod is the primary", func() error {
				current, err := kit.Primary()
				if err == nil && current.Metadata.Name == primary {
					err = errors.New(primary + " still is")
				}
				return err
			})
			// Two servers that accept writes would part for good.
			printed, err := kit.Run("kubectl", "exec", "--namespace=data", primary, "--container=postgres", "--",
				"psql", "--no-psqlrc", "--command=SET statement_timeout = '5s'", "--command=CREATE TABLE written_by_the_former_primary ()")
			if err == nil {
				t.Errorf("the former primary accepts writes: %s", printed)
			}
			network.end()
		},
		"the primary hangs": func(primary string) {
			restarts := func() string {
				return kit.Output(t, "kubectl", "get", "pod", primary, "--namespace=data", "--output=jsonpath={.status.containerStatuses[0].restartCount}")
			}
			before := restarts()
			_, _ = kit.Run("kubectl", "exec", "--namespace=data", primary, "--container=postgres", "--", "sh", "-c", // also stops its own session
				`for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = postgres ] && kill -STOP ${p#/proc/}; done`)
			kit.Eventually(t, 3*time.Minute, "the server is killed", func() error {
				if restarts() == before {
					return errors.New("it still runs")
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			primary, err := kit.Primary()
			if err != nil {
				t.Fatal(err)
			}
			run := kit.StartLoad(t)
			time.Sleep(5 * time.Second)
			fault(primary.Metadata.Name)
			kit.Eventually(t, 3*time.Minute, "another pod is the primary", func() error {
				current, err := kit.Primary()
				if err == nil && (current.Metadata.UID == primary.Metadata.UID && name != "the primary hangs" || !current.Ready()) {
					err = fmt.Errorf("%s is the primary", current.Metadata.Name)
				}
				return err
			})
			awaitInstances(t, 3)
			if kit.EndOutage(t, run, http.StatusServiceUnavailable, 0) == 0 && name != planned {
				t.Error("no request failed: the fault had no effect")
			}
		})
	}
}
