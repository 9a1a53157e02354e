package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// outage is a fault, and the only page for it.
type outage struct {
	about string
	page  string // the alert and its job
	lasts time.Duration
	sent  time.Duration // at the latest; 0 for two minutes
	idle  bool          // without other requests
	begin func(f *fault)
}

// outages are faults that users feel or soon would feel, by the page that each causes. Other tests make those of the pages
// AvailabilityBudgetBurn, LatencyBudgetBurn, NotificationsFailing and PrometheusStorageFailing, and nodes-test that of NodeNotReady.
// CertificateEnds has none: TestCertificatesRenewBeforeTheyExpire tests what prevents it.
var outages = []outage{
	{about: "Postgres doesn't run", page: "PostgresDown postgres", lasts: 2 * time.Minute, begin: func(f *fault) {
		f.noReplica("data", "deployment/postgres-operator") // which would start it again
		f.run("kubectl", "delete", "pod", "--namespace=data", "--selector=cnpg.io/podRole=instance", "--force", "--grace-period=0")
	}},
	// The liveness probe restarts the container after a minute.
	{about: "DNS never responds", page: "DnsDown coredns", lasts: time.Minute, begin: stops("coredns")},
	{about: "the edge has no replica", page: "EdgeDown edge", lasts: 90 * time.Second, begin: func(f *fault) { f.noReplica("edge", "deployment/edge") }},
	{about: "the public address leads nowhere", page: "EdgeUnreachable edge", lasts: 2 * time.Minute,
		begin: func(f *fault) { f.patch("edge", "edge", "/spec/selector/app.kubernetes.io~1name", "none") }},
	{about: "the edge can't connect to the gateway", page: "EdgeFailing edge", lasts: 2 * time.Minute, begin: closedGateway},
	{about: "the live Service selects a colour that doesn't run", page: "LiveColourDown order-service", lasts: 2 * time.Minute,
		begin: func(f *fault) { f.patch("apps", "order-service", "/spec/selector/colour", "none") }},
	{about: "a service has no replica", page: "ServiceDown order-service", lasts: 2 * time.Minute,
		begin: func(f *fault) { // of any colour
			for _, deployment := range strings.Fields(kit.Output(f.t, "kubectl", "get", "deployments", "--namespace=apps",
				"--selector=app.kubernetes.io/name=order-service", "--output=name")) {
				f.noReplica("apps", deployment)
			}
		}},
	{about: "a service that is ready fails every request", page: "BreakerOpen order-service", lasts: 2 * time.Minute, begin: missingTable},
	{about: "the stream doesn't run", page: "RedisDown redis-stream", lasts: 2 * time.Minute,
		begin: func(f *fault) { f.noReplica("data", "statefulset/redis-stream") }},
	{about: "the stream has no memory left", page: "StreamMemory redis-stream", lasts: 3 * time.Minute, sent: 3 * time.Minute, begin: fullStream},
	{about: "the stream has no append-only file", page: "StreamNotPersisting redis-stream", lasts: 2 * time.Minute,
		begin: func(f *fault) { f.configure("appendonly", "no") }},
	{about: "a volume is full", page: "VolumeFull full", lasts: 3 * time.Minute, sent: 3 * time.Minute, begin: fullVolume},
	{about: "the disk of a node is full", page: "NodeDiskFull node", lasts: 4 * time.Minute, sent: 4 * time.Minute, begin: fullDisk},
	{about: "the revoked sessions can't be read", page: "RevocationsOld api-gateway", lasts: 7 * time.Minute, sent: 7 * time.Minute, begin: unreadableSession},
}

// TestQuietDayFiresNothing runs what happens on a normal day within 20 minutes: a release, its rollback, another release, replaced pods,
// many users who come at once, and a night without a request. No alert may fire. It is the first test, because the windows of the
// objectives are longer than the tests: an outage before it would count.
func TestQuietDayFiresNothing(t *testing.T) {
	t.Cleanup(func() { kit.Restore(t) })
	awaitNoPage(t)
	const day = 20 * time.Minute
	seen := newObservation(t)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		seen.watch(seen.began.Add(day))
	}()

	run := kit.StartLoad(t)
	clone := kit.CopySources(t)
	if err := variant.Copy(clone).Differ(variant.All, "the version of the day"); err != nil {
		t.Fatal(err)
	}
	release := func(folder string) {
		if printed, err := kit.PulumiUp(folder); err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
	}
	release(clone)
	kit.Output(t, "make", "rollback")
	release(kit.Root)
	for _, service := range kit.ServiceNames() {
		live := "deployment/" + kit.LiveDeployment(t, service)
		kit.Output(t, "kubectl", "rollout", "restart", "--namespace=apps", live) // as a drained node replaces pods
		kit.Output(t, "kubectl", "rollout", "status", "--namespace=apps", "--timeout=2m", live)
	}
	users := &fault{t: t}
	for range 10 {
		users.visit(1, "/api/users/me", kit.Gateway().MustSignIn(t, kit.Gateway().SignUp(t)))
	}
	time.Sleep(2 * time.Minute)
	users.end()
	run.Stop()
	if err := run.Settle(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("the night begins after %s", seconds(time.Since(seen.began)))
	<-watched
	for name, alert := range seen.alerts {
		t.Errorf("%s (%s) fired, until %s after the beginning", name, alert.severity, seconds(alert.resolved.Sub(seen.began)))
	}
}

// Every outage pages once within two minutes. The alerts that follow from it are inhibited, also after its end.
func TestOutagePagesOnce(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.about, outage.pagesOnce)
	}
}

// Requests that are refused page although nothing returns 5xx.
func TestRefusedRequestsPage(t *testing.T) {
	outage{about: "tokens are refused", page: "EdgeRefusing edge", lasts: 2 * time.Minute, idle: true,
		begin: func(f *fault) { f.visit(4, "/api/users/me", "no token") }}.pagesOnce(t)
}

const (
	grouped    = 6 * time.Second // after this time, Alertmanager has sent a page
	afterwards = 5 * time.Minute
)

// pagesOnce makes the outage under load. Only its alert may page, until five minutes after its end.
func (o outage) pagesOnce(t *testing.T) {
	awaitNoPage(t)
	if !o.idle {
		defer startLoad(t)()
	}
	seen := newObservation(t)
	fault := &fault{t: t}
	t.Cleanup(fault.end)
	defer fault.end() // before the load settles
	o.begin(fault)
	seen.watch(seen.began.Add(o.lasts))
	fault.end()
	ended := time.Now()
	seen.watch(ended.Add(afterwards))

	page := seen.alerts[o.page]
	if page == nil || page.sent == 0 || page.sent > max(o.sent, 2*time.Minute) || page.times != 1 {
		t.Errorf("%s: %+v, want one page within %s", o.page, page, max(o.sent, 2*time.Minute))
	}
	var others []string
	for _, name := range slices.Sorted(maps.Keys(seen.alerts)) {
		alert := seen.alerts[name]
		if name == o.page || alert.sent == 0 {
			continue
		}
		others = append(others, fmt.Sprintf("%s (%s, %s)", name, alert.severity, seconds(alert.sent)))
		if alert.severity == "page" {
			t.Errorf("%s pages too, after %s", name, seconds(alert.sent))
		}
	}
	for name, alert := range seen.alerts {
		if alert.severity == "page" && !alert.since.IsZero() {
			t.Errorf("%s after the outage, %s still fires", afterwards, name)
		}
	}
	report(t, o, page, ended, others)
}

// startLoad starts a load. The returned function ends it, and fails the test unless each acknowledged order is stored and notified once.
func startLoad(t *testing.T) (end func()) {
	t.Helper()
	run := kit.StartLoad(t)
	return func() {
		if err := run.Settle(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func awaitNoPage(t *testing.T) {
	t.Helper()
	kit.Eventually(t, 8*time.Minute, "no page fires", func() error {
		now, err := firing()
		for alert, severity := range now {
			if severity == "page" {
				err = errors.Join(err, errors.New(alert+" fires"))
			}
		}
		return err
	})
}

// observation is what fires since the beginning of an outage.
type observation struct {
	t      *testing.T
	began  time.Time
	before map[string]string
	alerts map[string]*alert // by name and job
}

// alert is an alert that didn't fire before the outage.
type alert struct {
	severity        string
	times           int           // how often it was sent
	sent            time.Duration // the first time, after the beginning of the outage; 0 for never
	since, resolved time.Time     // since is zero while it doesn't fire
	notified        bool          // sent, and still firing
}

func newObservation(t *testing.T) *observation {
	t.Helper()
	before, err := firing()
	if err != nil {
		t.Fatal(err)
	}
	return &observation{t, time.Now(), before, map[string]*alert{}}
}

func (o *observation) watch(until time.Time) {
	for ; time.Now().Before(until); time.Sleep(time.Second) {
		now, err := firing()
		if err != nil {
			o.t.Log(err) // a single request may fail
			continue
		}
		for name, severity := range now {
			if o.alerts[name] == nil && o.before[name] == "" {
				o.alerts[name] = &alert{severity: severity}
			}
		}
		for name, one := range o.alerts {
			_, fires := now[name]
			switch {
			case !fires && !one.since.IsZero():
				one.since, one.notified, one.resolved = time.Time{}, false, time.Now()
			case fires && one.since.IsZero():
				one.since = time.Now()
			case fires && !one.notified && time.Since(one.since) > grouped:
				one.notified, one.times = true, one.times+1
				if one.sent == 0 {
					one.sent = time.Since(o.began)
				}
			}
		}
	}
}

// firing returns the severity of each alert that Alertmanager doesn't mute, by the alert and its job.
func firing() (map[string]string, error) {
	list, err := kit.Alerts()
	now := map[string]string{}
	for _, labels := range list {
		name, severity := labels["alertname"]+" "+labels["job"], labels["severity"]
		if severity == "page" || severity == "ticket" && now[name] == "" {
			now[name] = severity
		}
	}
	return now, err
}

// table is the file with the measurements of all outages.
const table = ".build/alert-test.md"

var rows []string

// report adds a row to the table.
func report(t *testing.T, o outage, page *alert, ended time.Time, others []string) {
	t.Helper()
	sent, resolved := "never", ""
	if page != nil && page.sent > 0 {
		sent, resolved = seconds(page.sent), "never"
		if !page.resolved.IsZero() {
			resolved = seconds(page.resolved.Sub(ended))
		}
	}
	if len(others) == 0 {
		others = []string{"nothing"}
	}
	rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | %s |\n", o.about, o.page, sent, strings.Join(others, ", "), resolved))
	content := "# Alerts of outages\n\nThe time to page is from the beginning of the outage until Alertmanager has sent the page; the time to resolve is from its end.\n\n" +
		"| outage | alert | time to page | what else fired, and when | time to resolve |\n|---|---|---|---|---|\n" + strings.Join(rows, "")
	if err := errors.Join(os.MkdirAll(filepath.Dir(table), 0o755), os.WriteFile(table, []byte(content), 0o644)); err != nil {
		t.Error(err)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// fault is what an outage changes. It is undone in reverse order.
type fault struct {
	t    *testing.T
	undo []func()
}

// later registers how to undo a change. Call it before the change.
func (f *fault) later(undo func()) { f.undo = append(f.undo, undo) }

func (f *fault) end() {
	for _, undo := range slices.Backward(f.undo) {
		undo()
	}
	f.undo = nil
}

// run runs a command. A failure doesn't keep other changes from being undone.
func (f *fault) run(command ...string) {
	if _, err := kit.Run(command...); err != nil {
		f.t.Error(err)
	}
}

// processes are the processes of a program in pods.
func processes(t *testing.T, program string) []kit.Process {
	t.Helper()
	found := slices.DeleteFunc(kit.Processes(t), func(process kit.Process) bool {
		name, _ := os.ReadFile(process.Path("comm"))
		return strings.TrimSpace(string(name)) != program || !process.InPod()
	})
	if len(found) == 0 {
		t.Fatalf("no process of %s runs", program)
	}
	return found
}

// stops suspends the processes of a program.
func stops(program string) func(f *fault) {
	return func(f *fault) {
		suspended := processes(f.t, program)
		signal := func(signal syscall.Signal) {
			for _, process := range suspended {
				_ = syscall.Kill(int(process), signal) // it may have ended
			}
		}
		f.later(func() { signal(syscall.SIGCONT) })
		signal(syscall.SIGSTOP)
	}
}

// noReplica scales a workload to 0. An autoscaler of it is then inactive.
func (f *fault) noReplica(namespace, workload string) {
	replicas := kit.Output(f.t, "kubectl", "get", workload, "--namespace="+namespace, "--output=jsonpath={.spec.replicas}")
	f.later(func() {
		f.run("kubectl", "scale", workload, "--namespace="+namespace, "--replicas="+replicas)
		f.run("kubectl", "rollout", "status", workload, "--namespace="+namespace, "--timeout=2m")
	})
	kit.Scale(f.t, namespace, workload, 0)
}

// patch replaces a field of a Service, named by a JSON Pointer.
func (f *fault) patch(namespace, service, pointer string, value any) {
	former := any(kit.OutputJSON[map[string]any](f.t, "kubectl", "get", "service", service, "--namespace="+namespace, "--output=json"))
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch parent := former.(type) {
		case map[string]any:
			former = parent[strings.ReplaceAll(step, "~1", "/")]
		case []any:
			at, _ := strconv.Atoi(step)
			former = parent[at]
		}
	}
	if former == nil {
		f.t.Fatalf("Service %s/%s has no %s", namespace, service, pointer)
	}
	set := func(value any) {
		operation, err := json.Marshal([]map[string]any{{"op": "replace", "path": pointer, "value": value}})
		if err != nil {
			f.t.Error(err)
		}
		f.run("kubectl", "patch", "service", service, "--namespace="+namespace, "--type=json", "--patch="+string(operation))
	}
	f.later(func() { set(former) })
	set(value)
}

// closedGateway lets the Service of the gateway lead to a port that nothing listens on. Traefik keeps no connection, because it restarts.
func closedGateway(f *fault) {
	f.patch("apps", "api-gateway", "/spec/ports/0/targetPort", 1)
	time.Sleep(3 * time.Second) // until kube-proxy has seen it
	for _, process := range processes(f.t, "traefik") {
		if err := syscall.Kill(int(process), syscall.SIGKILL); err != nil {
			f.t.Error(err)
		}
	}
}

// missingTable renames the table of orders: order-service is ready, and its requests fail. Others succeed, so that they are most of all.
func missingTable(f *fault) {
	rename := func(from, to string) {
		if _, err := kit.SQL("orders", "SET lock_timeout = '20s'; ALTER TABLE "+from+" RENAME TO "+to, ""); err != nil {
			f.t.Error(err)
		}
	}
	f.visit(4, "/health", "")
	f.later(func() { rename("orders_away", "orders") })
	rename("orders", "orders_away")
}

// fullStream lowers the stream's limit to a little more than the memory in use.
func fullStream(f *fault) {
	var used int
	for line := range strings.Lines(f.stream("INFO", "memory")) {
		if number, found := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); found {
			used, _ = strconv.Atoi(number)
		}
	}
	if used == 0 {
		f.t.Fatal("INFO memory has no used_memory")
	}
	f.configure("maxmemory", strconv.Itoa(used+used/100))
}

// fullVolume fills a volume of a claim in a namespace of the platform. The volume is a file system in memory.
func fullVolume(f *fault) {
	folder := f.memory("mode=0777")
	const name = "full"
	node := kit.Output(f.t, "kubectl", "get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
	f.later(func() {
		f.run("kubectl", "delete", "pod", name, "--namespace=data", "--ignore-not-found", "--grace-period=0", "--force")
		f.run("kubectl", "delete", "persistentvolumeclaim", name, "--namespace=data", "--ignore-not-found")
		f.run("kubectl", "delete", "persistentvolume", "alert-test", "--ignore-not-found")
	})
	objects := fmt.Sprintf(`{"apiVersion": "v1", "kind": "List", "items": [
		{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "alert-test"}, "spec": {"capacity": {"storage": "64Mi"},
			"accessModes": ["ReadWriteOnce"], "storageClassName": "alert-test", "local": {"path": %q}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
			{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [%q]}]}]}}}},
		{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": %q, "namespace": "data"}, "spec": {"storageClassName": "alert-test",
			"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}},
		{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %[3]q, "namespace": "data"}, "spec": {"automountServiceAccountToken": false,
			"securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
			"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": %[3]q}}],
			"containers": [{"name": "shell", "image": %[4]q, "command": ["sleep", "600"], "volumeMounts": [{"name": "data", "mountPath": "/data"}],
			"resources": {"limits": {"cpu": "100m", "memory": "96Mi"}}, "securityContext": {"allowPrivilegeEscalation": false,
			"readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}}]}}]}`, folder, node, name, kit.ShellImage(f.t))
	if _, err := kit.Feed(objects, "kubectl", "apply", "--filename=-"); err != nil {
		f.t.Fatal(err)
	}
	kit.Output(f.t, "kubectl", "wait", "--namespace=data", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	kit.Output(f.t, "kubectl", "exec", "--namespace=data", name, "--", "dd", "if=/dev/zero", "of=/data/zeros", "bs=1M", "count=62")
}

// memory mounts a file system of 64 MiB in memory, and returns its folder.
func (f *fault) memory(option string) string {
	folder := filepath.Join(kit.StateFolder, "alert-test")
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // pods have other users
		f.t.Fatal(err)
	}
	f.later(func() { f.run("umount", folder); f.run("rmdir", folder) })
	kit.Output(f.t, "mount", "--types=tmpfs", "--options=size=64m,"+option, "tmpfs", folder)
	return folder
}

// fullDisk shows the exporter of the node a full file system in place of the node's disk, which has the data of other programs.
func fullDisk(f *fault) {
	folder := f.memory("mode=0755")
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o755); err != nil { //nolint:gosec // the exporter has another user
			f.t.Fatal(err)
		}
	}
	merged := filepath.Join(folder, "merged")
	f.later(func() { f.run("umount", merged) })
	// The exporter ignores file systems in memory, so it sees one that only stores its files there.
	kit.Output(f.t, "mount", "--types=overlay", "--options=lowerdir="+folder+"/lower,upperdir="+folder+"/upper,workdir="+folder+"/work", "overlay", merged)
	kit.Output(f.t, "dd", "if=/dev/zero", "of="+merged+"/zeros", "bs=1M", "count=62")
	exporter := processes(f.t, "node_exporter")[0]
	within := func(change func() error) {
		failed := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			namespace, err := os.Open(exporter.Path("ns/mnt"))
			if err == nil {
				defer func() { _ = namespace.Close() }()
				err = errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS))
			}
			if err == nil {
				err = change()
			}
			failed <- err
		}()
		if err := <-failed; err != nil {
			f.t.Error(err)
		}
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, merged, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = unix.Close(tree) }()
	const disk = "/node"
	f.later(func() { within(func() error { return unix.Unmount(disk, 0) }) })
	within(func() error { return unix.MoveMount(tree, "", unix.AT_FDCWD, disk, unix.MOVE_MOUNT_F_EMPTY_PATH) })
}

// unreadableSession adds a session that ended at a time which user-service can't represent.
func unreadableSession(f *fault) {
	statement := func(text string) {
		if _, err := kit.UsersSQL(text, "00000000-0000-7000-8000-000000000000"); err != nil {
			f.t.Error(err)
		}
	}
	f.later(func() { statement("DELETE FROM sessions WHERE id = :'id'") })
	statement("INSERT INTO sessions (id, user_id, token_hash, expires_at, revoked_at) VALUES (:'id', :'id', '', now() + interval '1 hour', 'infinity')")
}

// configure changes a setting of the stream.
func (f *fault) configure(setting, value string) {
	former := strings.Fields(f.stream("CONFIG", "GET", setting))
	if len(former) != 2 {
		f.t.Fatalf("%s is %q", setting, former)
	}
	f.later(func() { f.stream("CONFIG", "SET", setting, former[1]) })
	f.stream("CONFIG", "SET", setting, value)
}

// stream runs a command in the stream as its administrator.
func (f *fault) stream(command ...string) string {
	printed, err := kit.Redis("statefulset/redis-stream", command...)
	if err != nil {
		f.t.Error(err)
	}
	return printed
}

// visit lets clients request a path, each about four times per second.
func (f *fault) visit(clients int, path, token string) {
	api := kit.Gateway()
	f.repeat(clients, func() { _, _ = api.Call(http.MethodGet, path, token, nil) })
}

// repeat lets clients make a call again and again, with pauses of a quarter of a second.
func (f *fault) repeat(clients int, call func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	f.later(func() { close(stop); running.Wait() })
	for range clients {
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(250 * time.Millisecond):
					call()
				}
			}
		})
	}
}
