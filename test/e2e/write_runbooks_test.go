package e2e

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// A dead letter is handled after the runbook's command has returned it to the stream.
func TestDeadLettersRunbookHandlesEventsAgain(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	ordered := api.OrderAndAwait(t, token)

	// Simulate an unhandled event: no notification, no record of the event, and an entry in the dead letters.
	const stream, dead = "orders:events", "orders:events:dead"
	newest := strings.Split(shell(t, "in_redis statefulset/redis-stream --raw XREVRANGE "+stream+" + - COUNT 1"), "\n")
	if !strings.Contains(strings.Join(newest, " "), ordered.ID) {
		t.Fatalf("the newest event is not that of order %s: %q", ordered.ID, newest)
	}
	event := newest[1+slices.Index(newest, "id")]
	shell(t, `in_postgres notifications "DELETE FROM handled_events WHERE event_id = '`+event+`'"`)
	shell(t, `in_postgres notifications "DELETE FROM notifications WHERE order_id = '`+ordered.ID+`'"`)
	shell(t, "in_redis statefulset/redis-stream XADD "+dead+" '*' '"+strings.Join(newest[1:], "' '")+"' dead_id "+newest[0]+" dead_reason test")
	before := shell(t, "in_redis statefulset/redis-stream XLEN "+dead)

	if printed := shell(t, local(blocks(t, "DeadLetters")[0])); !strings.Contains(printed, "order_events "+before) {
		t.Errorf("for %s dead letters, the command printed %q", before, printed)
	}
	if left := shell(t, "in_redis statefulset/redis-stream XLEN "+dead); left != "0" {
		t.Errorf("%s dead letters remain", left)
	}
	api.AwaitNotifications(t, token, "order.created", ordered)
}

// A delivery that was abandoned is due again after the runbook's command.
func TestWebhookGaveUpRunbookRetriesDeliveries(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	ordered := api.OrderAndAwait(t, token)
	of := " WHERE notification_id = (SELECT id FROM notifications WHERE order_id = '" + ordered.ID + "')"
	shell(t, `in_postgres notifications "INSERT INTO webhook_deliveries (notification_id, attempts, gave_up_at) SELECT id, 12, now() FROM notifications WHERE order_id = '`+ordered.ID+`'"`)
	t.Cleanup(func() { shell(t, `in_postgres notifications "DELETE FROM webhook_deliveries`+of+`"`) })
	if printed := shell(t, local(blocks(t, "WebhookGaveUp")[0])); !regexp.MustCompile(`deliveries [1-9]`).MatchString(printed) {
		t.Errorf("the command printed %q", printed)
	}
	if state := shell(t, `in_postgres notifications "SELECT 'gave up: ' || (gave_up_at IS NOT NULL) || ', attempts: ' || attempts FROM webhook_deliveries`+of+`"`); !strings.Contains(state, "gave up: false, attempts: 0") {
		t.Errorf("the delivery is\n%s", state)
	}
}

// remedy is a command in the text of runbooks that changes something.
type remedy struct {
	command string
	run     func(t *testing.T, command string)
}

// changes reports whether a command is a remedy.
func changes(command string) bool {
	return slices.ContainsFunc(remedies(), func(r remedy) bool { return r.command == command })
}

// remedies returns the commands in the text of runbooks that change something, except for those of commandTests.
func remedies() []remedy {
	const redis = "in_redis statefulset/redis-stream "
	return []remedy{
		{"kubectl delete pod -n kube-system -l k8s-app=kube-dns", replacesPods("kube-system", "k8s-app=kube-dns")},
		{"kubectl rollout restart -n kube-system deployment/coredns", replacesPods("kube-system", "k8s-app=kube-dns")},
		{"kubectl delete pod -n monitoring prometheus-0", replacesPods("monitoring", "app.kubernetes.io/name=prometheus")},
		{"kubectl rollout restart -n monitoring statefulset/alertmanager", replacesPods("monitoring", "app.kubernetes.io/name=alertmanager")},
		{"kubectl rollout restart -n data deployment/postgres-operator", replacesPods("data", "app.kubernetes.io/name=postgres-operator")},
		{"kubectl rollout restart -n data deployment/redis-cache", replacesPods("data", "app.kubernetes.io/name=redis-cache")},
		{"kubectl rollout restart deployment -n apps -l app.kubernetes.io/name=order-service", replacesPods("apps", "app.kubernetes.io/name=order-service")},
		{"kubectl rollout restart deployment -n apps -l app.kubernetes.io/name=notification-service", replacesPods("apps", "app.kubernetes.io/name=notification-service")},
		{"kubectl delete pod -n apps <pod>", replacesPod},
		{"kubectl logs -n <namespace> <pod> --previous --tail=30", readsCrash},
		{"kubectl logs -n apps <pod> --previous", readsCrash},
		{"kubectl delete job -n <namespace> <job>", deletesJob},
		{"pulumi up --stack <stack> --refresh", restoresObjects},
		{"kubectl delete node <node>", wouldDeleteNode},
		{"kubectl certificate approve <name>", approvesCertificate},
		{`in_postgres postgres "SELECT pg_terminate_backend(<pid>)"`, endsTransaction},
		{`in_postgres postgres "SELECT pg_drop_replication_slot('<slot>')"`, dropsSlot},
		{`in_postgres <database> "VACUUM (FREEZE)"`, vacuums},
		{`in_postgres <database> "VACUUM <table>"`, vacuums},
		{redis + "BGREWRITEAOF", rewritesFile},
		{redis + "XDEL orders:events:dead <id>", deletesDeadLetter},
		{redis + "XGROUP DESTROY orders:events <group>", destroysGroup},
		{"pulumi config set --secret platform:smtpPassword --stack <stack>", setsSecret},
		{"pulumi config set --secret platform:slackWebhookUrl --stack <stack>", setsSecret},
		{"make secrets STACK=<stack> ROTATE=<name>", rotatesSecret},
		{"make secrets STACK=<stack> ROTATE=jwtKeys", rotatesSecret},
		{"make secrets STACK=<stack> ROTATE=webhookSecret", rotatesSecret},
		{"make secrets STACK=<stack> ROTATE=certificateAuthority", rotatesSecret},
	}
}

// Every command in the text of a runbook that changes something has the effect that the runbook promises.
func TestRemediesOfRunbooksWork(t *testing.T) {
	for _, remedy := range remedies() {
		t.Run(remedy.command, func(t *testing.T) { remedy.run(t, remedy.command) })
	}
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	api.OrderAndAwait(t, token)
	if printed, err := kit.Run("make", "-s", "drift"); err != nil {
		t.Errorf("after all commands: %v\n%s", err, printed)
	}
}

// local returns the command for the stack local; an update asks no question.
func local(command string) string {
	return strings.NewReplacer("<stack>", "local", "pulumi up", "pulumi up --yes --skip-preview --non-interactive").Replace(command)
}

// replacesPods runs the command, and waits until other pods with the labels are ready.
func replacesPods(namespace, selector string) func(*testing.T, string) {
	const ready = `--output=jsonpath={range .items[*]}{.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`
	return func(t *testing.T, command string) {
		pods := func() map[string]string {
			states := map[string]string{}
			for line := range strings.Lines(kit.Output(t, "kubectl", "get", "pods", "--namespace="+namespace, "--selector="+selector, ready)) {
				uid, state, _ := strings.Cut(strings.TrimSpace(line), " ")
				states[uid] = state
			}
			return states
		}
		before := pods()
		if len(before) == 0 {
			t.Fatalf("namespace %s has no pod with %s", namespace, selector)
		}
		shell(t, command)
		kit.Eventually(t, 4*time.Minute, "all pods are replaced", func() error {
			now := pods()
			if len(now) == 0 {
				return errors.New("there is no pod")
			}
			for uid, state := range now {
				if before[uid] != "" || state != "True" {
					return fmt.Errorf("pod %s was there before, or isn't ready: %s", uid, state)
				}
			}
			return nil
		})
	}
}

// replacesPod deletes a pod of order-service, and waits until another is ready.
func replacesPod(t *testing.T, command string) {
	pods, err := kit.Pods("order-service")
	if err != nil {
		t.Fatal(err)
	}
	shell(t, strings.Replace(command, "<pod>", pods[0].Metadata.Name, 1))
	kit.Eventually(t, 2*time.Minute, "the service is ready without the pod", func() error {
		left, err := kit.Pods("order-service")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(left, func(p kit.Pod) bool { return p.Metadata.UID == pods[0].Metadata.UID }) {
			return errors.New("the pod runs")
		}
		return kit.Ready("order-service")
	})
}

// readsCrash reads the log of a container that has exited and runs again.
func readsCrash(t *testing.T, command string) {
	const name = "e2e-crashing"
	kit.StartPod(t, "apps", name, `
apiVersion: v1
kind: Pod
metadata: {name: `+name+`, namespace: apps}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: crashing
    image: `+kit.ShellImage(t)+`
    command: [sh, -c, echo the last words; sleep 1; exit 1]
    resources: {requests: {cpu: 5m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`)
	kit.Eventually(t, 2*time.Minute, "the container has restarted", func() error {
		restarts, err := kit.Run("kubectl", "get", "pod", name, "--namespace=apps", "--output=jsonpath={.status.containerStatuses[0].restartCount}")
		if err == nil && (restarts == "" || restarts == "0") {
			err = errors.New("no restart")
		}
		return err
	})
	if printed := shell(t, strings.NewReplacer("<namespace>", "apps", "<pod>", name).Replace(command)); !strings.Contains(printed, "the last words") {
		t.Errorf("got %q", printed)
	}
}

// deletesJob deletes the Job that sets up Postgres.
func deletesJob(t *testing.T, command string) {
	job := jobOfPostgres(t)
	shell(t, strings.NewReplacer("<namespace>", "data", "<job>", job).Replace(command))
	if left := kit.Output(t, "kubectl", "get", "jobs", "--namespace=data", "--output=name"); strings.Contains(left, job) {
		t.Errorf("the Job still exists: %s", left)
	}
}

// restoresObjects restores a deleted network policy, and the Job of deletesJob.
func restoresObjects(t *testing.T, command string) {
	kit.Output(t, "kubectl", "delete", "networkpolicy", "notification-service", "--namespace=apps")
	if printed, err := kit.RunIn(kit.Root, local(command)); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	kit.Output(t, "kubectl", "get", "networkpolicy", "notification-service", "--namespace=apps")
	kit.Output(t, "kubectl", "wait", "job", "--namespace=data", "--selector=app.kubernetes.io/name=postgres-setup", "--for=condition=Complete", "--timeout=1m")
}

// wouldDeleteNode runs the command without effect, because the cluster has one node.
func wouldDeleteNode(t *testing.T, command string) {
	node := kit.Output(t, "kubectl", "get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
	if printed := shell(t, strings.Replace(command, "<node>", node, 1)+" --dry-run=server"); !strings.Contains(printed, "deleted") {
		t.Errorf("got %q", printed)
	}
}

// approvesCertificate approves the request of a client for a certificate.
func approvesCertificate(t *testing.T, command string) {
	const name = "e2e-client"
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	remove := func() {
		if _, err := kit.Run("kubectl", "delete", "certificatesigningrequest", name, "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	}
	remove()
	t.Cleanup(remove)
	if _, err := kit.Feed(`
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: `+name+`}
spec:
  request: `+request+`
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
  expirationSeconds: 600
`, "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	shell(t, strings.Replace(command, "<name>", name, 1))
	kit.Output(t, "kubectl", "wait", "certificatesigningrequest", name, "--for=condition=Approved", "--timeout=30s")
}

// endsTransaction ends a statement that runs for ten minutes.
func endsTransaction(t *testing.T, command string) {
	const statement = "SELECT pg_sleep(600)"
	hanging := kit.Start(t, exec.Command("bash", "-c", shellHelpers(t)+`in_postgres postgres "`+statement+`"`))
	t.Cleanup(func() { _ = hanging.Stop(syscall.SIGKILL, time.Minute) }) // fails if the command has ended
	var pid string
	kit.Eventually(t, time.Minute, "the statement runs", func() error {
		found := regexp.MustCompile(`pid: (\d+)`).FindStringSubmatch(shell(t, `in_postgres postgres "SELECT 'pid: ' || pid FROM pg_stat_activity WHERE query = '`+statement+`'"`))
		if found == nil {
			return errors.New("pg_stat_activity doesn't list it")
		}
		pid = found[1]
		return nil
	})
	shell(t, strings.Replace(command, "<pid>", pid, 1))
	if err := hanging.WaitFor(time.Minute, "terminating connection"); err != nil {
		t.Error(err)
	}
}

func dropsSlot(t *testing.T, command string) {
	shell(t, `in_postgres postgres "SELECT pg_create_physical_replication_slot('e2e')"`)
	shell(t, strings.Replace(command, "<slot>", "e2e", 1))
	if left := shell(t, `in_postgres postgres "SELECT 'slots: ' || count(*) FROM pg_replication_slots WHERE slot_name = 'e2e'"`); !strings.Contains(left, "slots: 0") {
		t.Errorf("the slot is left: %s", left)
	}
}

func vacuums(t *testing.T, command string) {
	if printed := shell(t, strings.NewReplacer("<database>", "orders", "<table>", "orders").Replace(command)); !strings.Contains(printed, "VACUUM") {
		t.Errorf("got %q", printed)
	}
}

// rewritesFile rewrites the append-only file of redis-stream.
func rewritesFile(t *testing.T, command string) {
	shell(t, command)
	kit.Eventually(t, time.Minute, "the file is rewritten", func() error {
		state := shell(t, "in_redis statefulset/redis-stream INFO persistence")
		for _, want := range []string{"aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0", "aof_last_bgrewrite_status:ok", "aof_last_write_status:ok"} {
			if !strings.Contains(state, want) {
				return fmt.Errorf("no %s in\n%s", want, state)
			}
		}
		return nil
	})
}

func deletesDeadLetter(t *testing.T, command string) {
	id := shell(t, "in_redis statefulset/redis-stream --raw XADD orders:events:dead '*' dead_reason e2e")
	if printed := shell(t, strings.Replace(command, "<id>", id, 1)); !strings.HasSuffix(printed, "1") {
		t.Errorf("deleted %q entries, want 1", printed)
	}
}

func destroysGroup(t *testing.T, command string) {
	shell(t, "in_redis statefulset/redis-stream XGROUP CREATE orders:events e2e '$'")
	if printed := shell(t, strings.Replace(command, "<group>", "e2e", 1)); !strings.HasSuffix(printed, "1") {
		t.Errorf("destroyed %q groups, want 1", printed)
	}
}

// setsSecret sets a secret in a configuration of its own. The command reads the value from its standard input.
func setsSecret(t *testing.T, command string) {
	clone := kit.CopySources(t)
	kit.OwnConfig(t, clone)
	key, value := regexp.MustCompile(`platform:\w+`).FindString(command), rand.Text()
	if printed, err := kit.RunIn(clone, "echo "+value+" | "+local(command)); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if printed, err := kit.RunIn(clone, "pulumi config get "+key+" --stack local"); err != nil || strings.TrimSpace(printed) != value {
		t.Errorf("the secret isn't set: %v", err)
	}
	if strings.Contains(content(t, clone+"/Pulumi.local.yaml"), value) {
		t.Error("the secret isn't encrypted")
	}
}

// rotatesSecret rotates a secret in a configuration of its own; TestRotationOfSecretsLosesNoRequest rotates those of the platform.
func rotatesSecret(t *testing.T, command string) {
	clone := kit.CopySources(t)
	kit.OwnConfig(t, clone)
	command = strings.Replace(local(command), "<name>", "orderServiceDatabasePassword", 1)
	_, name, _ := strings.Cut(command, "ROTATE=")
	value := func() string {
		printed, err := kit.RunIn(clone, "pulumi config get platform:"+name+" --stack local")
		if err != nil {
			t.Fatal(err)
		}
		return printed
	}
	before := value()
	if printed, err := kit.RunIn(clone, command); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	if value() == before {
		t.Error("the secret is the same")
	}
}
