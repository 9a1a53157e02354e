package cluster

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	kubernetes "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
)

func connect(t *testing.T, api *clustertest.API) *Cluster {
	t.Helper()
	cluster, err := Target{Kubeconfig: api.Kubeconfig(t)}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

func TestClusterID(t *testing.T) {
	if id := connect(t, clustertest.New(t, "one")).ID(); id != "one" {
		t.Errorf("the cluster is %q", id)
	}
}

func TestUnreachable(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	refusing := clustertest.New(t, "one")
	refusing.Answer("/api/v1/namespaces/kube-system", http.StatusUnauthorized)
	path := clustertest.Write(t, clustertest.Kubeconfig(closed.URL))
	tests := []struct {
		name, path, context, want string
	}{
		{"nothing listens", path, "", `the cluster of platform:kubeContext "" doesn't respond`},
		{"it lets nobody in", refusing.Kubeconfig(t), "here", "the server has asked for the client to provide credentials"},
		{"no such context", path, "elsewhere", `context "elsewhere" does not exist: set platform:kubeconfig`},
		{"a context without cluster", path, "dangling", "no configuration has been provided"},
		{"no file", path + "-absent", "", "no such file or directory: set platform:kubeconfig"},
		{"not YAML", clustertest.Write(t, "{"), "", "kubeconfig: error loading config file"},
		{"empty", clustertest.Write(t, ""), "", "no configuration has been provided"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Target{Kubeconfig: test.path, Context: test.context}.Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestKubeconfigFilesAreMerged(t *testing.T) {
	api := clustertest.New(t, "one")
	t.Setenv("KUBECONFIG", strings.Join([]string{
		"/absent", clustertest.Write(t, "current-context: dangling\n"), api.Kubeconfig(t),
	}, string(filepath.ListSeparator)))
	if _, err := (Target{Context: "here"}).Connect(t.Context()); err != nil {
		t.Error(err)
	}
}

// engine accepts all resources.
type engine struct{}

func (e engine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func (e engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return args.Name, nil, nil
}

func TestOwn(t *testing.T) {
	tests := []struct {
		name, recorded, settler, want string
	}{
		{"first update", "", "", ""},
		{"second update", "one", "production", ""},
		{"after a killed first update", "", "production", ""},
		{"another cluster", "other", "", `stack production is on the cluster other, but platform:kubeContext "" leads to the cluster one`},
		{"another stack's cluster", "", "staging", "leads to the cluster of stack staging: two stacks can't share one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			api := clustertest.New(t, "one")
			if test.settler != "" {
				api.Settle(test.settler)
			}
			var err error
			_ = pulumi.RunErr(func(ctx *pulumi.Context) error {
				err = connect(t, api).Own(ctx, test.recorded)
				return nil
			}, pulumi.WithMocks("platform", "production", engine{}))
			if (test.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

var workload = Workload{
	Kind: "Deployment", Namespace: "apps", Name: "shop-blue", Labels: map[string]string{"colour": "blue", "app": "shop"},
}

const podsPath = "/api/v1/namespaces/apps/pods"

func pod(name string, born time.Time, container corev1.ContainerStatus, conditions ...corev1.PodCondition) corev1.Pod {
	container.Name = "shop"
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "apps", CreationTimestamp: metav1.NewTime(born)},
		Status:     corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{container}, Conditions: conditions},
	}
}

func TestCause(t *testing.T) {
	ready := corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue}
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Image: "registry/shop:1", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message},
		}}
	}
	crashed := waiting("CrashLoopBackOff", "back-off 10s")
	crashed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3}
	starved := waiting("CrashLoopBackOff", "back-off 10s")
	starved.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	running := corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	tests := []struct {
		name string
		pod  corev1.Pod
		log  any
		want string
	}{
		{"an image that isn't there", pod("a", time.Now(), waiting("ImagePullBackOff", "not\n found")), nil,
			"pod a can't pull the image registry/shop:1: not found"},
		{"a configuration that isn't there", pod("a", time.Now(), waiting("CreateContainerConfigError", `secret "x" not found`)), nil,
			`pod a can't start (CreateContainerConfigError): secret "x" not found`},
		{"a crash", pod("a", time.Now(), crashed), "JWT_KEYS: must be\tset\n",
			"pod a ended (exit code 3), its last log line: JWT_KEYS: must be set"},
		{"a crash without a log", pod("a", time.Now(), crashed), nil, "pod a ended (exit code 3) without a log line"},
		{"too little memory", pod("a", time.Now(), starved), "loading", "pod a ended (out of memory: it exceeded its limit), its last log line: loading"},
		{"never ready", pod("a", time.Now(), running), "waiting for Postgres",
			"pod a runs but isn't ready, its last log line: waiting for Postgres"},
		{"a full cluster", pod("a", time.Now(), corev1.ContainerStatus{}, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes are available: 1 Insufficient cpu."}), nil,
			"pod a finds no node: 0/1 nodes are available: 1 Insufficient cpu."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			api := clustertest.New(t, "one")
			old := pod("old", time.Now().Add(-time.Hour), running, ready)
			api.Answer(podsPath, corev1.PodList{Items: []corev1.Pod{old, test.pod}})
			api.Answer(podsPath+"/a/log", test.log)
			want := "Deployment apps/shop-blue isn't ready: " + test.want
			if got := connect(t, api).Cause(t.Context(), workload); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if asked := strings.Join(api.Asked(), " "); !strings.Contains(asked, "labelSelector=app%3Dshop%2Ccolour%3Dblue") {
				t.Errorf("asked %s", asked)
			}
		})
	}
}

func TestCauseOfRefusedPods(t *testing.T) {
	api := clustertest.New(t, "one")
	event := func(name, message string, at time.Time) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{Name: name}, Message: message, LastTimestamp: metav1.NewTime(at),
		}
	}
	now := time.Now()
	api.Answer(podsPath, corev1.PodList{})
	api.Answer("/api/v1/namespaces/apps/events", corev1.EventList{Items: []corev1.Event{
		event("shop-blue-5f", "exceeded quota: small", now),
		event("shop-blue-5f", "something before", now.Add(-time.Minute)),
		event("other-blue-5f", "something else", now.Add(time.Minute)),
	}})
	want := "Deployment apps/shop-blue isn't ready: its pods are refused: exceeded quota: small"
	if got := connect(t, api).Cause(t.Context(), workload); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const deploymentPath = "/apis/apps/v1/namespaces/apps/deployments/shop-blue"

// rollout is a Deployment that was changed twice, as its controller has last told of it.
func rollout(seen int64, updated int32, status corev1.ConditionStatus, reason string) kubernetes.Deployment {
	return kubernetes.Deployment{
		ObjectMeta: metav1.ObjectMeta{Generation: 2},
		Status: kubernetes.DeploymentStatus{
			ObservedGeneration: seen, Replicas: 2, UpdatedReplicas: updated,
			Conditions: []kubernetes.DeploymentCondition{
				{Type: kubernetes.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"},
				{Type: kubernetes.DeploymentProgressing, Status: status, Reason: reason},
			},
		},
	}
}

func TestCompleted(t *testing.T) {
	const available = "NewReplicaSetAvailable"
	for _, test := range []struct {
		about      string
		deployment kubernetes.Deployment
		done       bool
	}{
		{"complete", rollout(2, 2, corev1.ConditionTrue, available), true},
		{"the former rollout is complete, the change not seen", rollout(1, 2, corev1.ConditionTrue, available), false},
		{"former replicas run", rollout(2, 1, corev1.ConditionTrue, available), false},
		{"new ones aren't ready", rollout(2, 2, corev1.ConditionTrue, "ReplicaSetUpdated"), false},
		{"given up", rollout(2, 1, corev1.ConditionFalse, "ProgressDeadlineExceeded"), false},
		{"nothing is known yet", kubernetes.Deployment{}, false},
	} {
		if done := completed(test.deployment); done != test.done {
			t.Errorf("%s: complete is %v", test.about, done)
		}
	}
}

func TestCompleteExplainsFailures(t *testing.T) {
	api := clustertest.New(t, "one")
	complete := func(patience time.Duration) error {
		return Rollout{deadline: patience - surplus, cluster: connect(t, api)}.Complete(t.Context(), workload.Namespace, workload.Name, workload.Labels)
	}
	crashed := corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}}
	api.Answer(podsPath, corev1.PodList{Items: []corev1.Pod{pod("a", time.Now(), crashed)}})
	const cause = "Deployment apps/shop-blue isn't ready: pod a ended (exit code 3) without a log line; the previous version keeps running"

	api.Answer(deploymentPath, rollout(1, 2, corev1.ConditionTrue, "NewReplicaSetAvailable"))
	if err := complete(10 * time.Millisecond); err == nil || err.Error() != cause {
		t.Errorf("not observed yet: %v", err)
	}
	api.Answer(podsPath, corev1.PodList{})
	if err := complete(10 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "its rollout isn't complete") {
		t.Errorf("stalled without a cause: %v", err)
	}
	api.Answer(deploymentPath, http.StatusServiceUnavailable)
	time.AfterFunc(lookAgain/2, func() { api.Answer(deploymentPath, rollout(2, 2, corev1.ConditionTrue, "NewReplicaSetAvailable")) })
	if err := complete(time.Hour); err != nil {
		t.Errorf("completed: %v", err)
	}
}
