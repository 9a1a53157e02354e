package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

func TestRecorded(t *testing.T) {
	api := clustertest.New(t, "one")
	mark := release.Mark{Live: release.Green, Version: "v2", Standby: release.Former{Version: "v1", Made: "earlier"}, At: time.Unix(1_700_000_000, 0).UTC()}
	labels := func(colour string) map[string]string {
		return map[string]string{"app.kubernetes.io/name": "shop", "colour": colour}
	}
	service := func(name, colour string) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "7"}, Spec: corev1.ServiceSpec{Selector: labels(colour)}}
	}
	live := service("shop", "green")
	live.Annotations = mark.Annotations()
	deployment := func(name, colour, version string, replicas int32) appsv1.Deployment {
		return appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{release.VersionAnnotation: version, release.MadeAnnotation: "earlier"}},
			Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels(colour)},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: "shop@" + version}}},
			}},
		}
	}
	api.Answer("/api/v1/namespaces/apps/services", corev1.ServiceList{Items: []corev1.Service{
		live, service("shop-blue", "blue"), {ObjectMeta: metav1.ObjectMeta{Name: "somebody-elses"}},
	}})
	gone := deployment("shop-blue", "blue", "v0", 1)
	gone.DeletionTimestamp = &metav1.Time{Time: time.Now()}
	api.Answer("/apis/apps/v1/namespaces/apps/deployments", appsv1.DeploymentList{Items: []appsv1.Deployment{
		deployment("shop-green", "green", "v2", 4), deployment("shop-blue", "blue", "v1", 2), deployment("canary", "green", "v9", 1), gone,
	}})
	got, err := connect(t, api).Recorded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nobody := release.Changes{}
	want := map[string]release.Recorded{"shop": {
		Selected: release.Green, Mark: mark, Revision: "7", Selector: labels("green"), Changes: nobody,
		Colours: map[release.Colour]release.Running{
			release.Green: {Version: "v2", Made: "earlier", Image: "shop@v2", Replicas: 4, Changes: nobody},
			release.Blue:  {Version: "v1", Made: "earlier", Image: "shop@v1", Replicas: 2, Changes: nobody},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("it is\n%+v, want\n%+v", got, want)
	}
}

func TestSwitchFailsOnAConflict(t *testing.T) {
	var patched corev1.Service
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != http.MethodPatch {
			_ = json.NewEncoder(w).Encode(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{UID: "one"}})
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&patched); err != nil || r.URL.Path != "/api/v1/namespaces/apps/services/shop" {
			t.Errorf("it patches %s (%v)", r.URL.Path, err)
		}
		if patched.ResourceVersion != "7" {
			w.WriteHeader(http.StatusConflict)
		}
		_ = json.NewEncoder(w).Encode(corev1.Service{})
	}))
	defer api.Close()
	cluster, err := Target{Kubeconfig: clustertest.Write(t, clustertest.Kubeconfig(api.URL))}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mark := release.Mark{Live: release.Green, Version: "v2", At: time.Unix(1_700_000_000, 0).UTC()}
	if err := cluster.Switch(t.Context(), "shop", release.Recorded{Revision: "7", Selector: map[string]string{"tier": "x"}}, mark); err != nil {
		t.Error(err)
	}
	if colour := patched.Spec.Selector[release.ColourLabel]; colour != string(release.Green) || release.ReadMark(patched.Annotations) != mark {
		t.Errorf("it selects %s, with the mark %v", colour, patched.Annotations)
	}
	if err := cluster.Switch(t.Context(), "shop", release.Recorded{Revision: "6"}, mark); err == nil || !strings.Contains(err.Error(), "shop to green: ") {
		t.Errorf("an outdated revision: %v", err)
	}
}

func TestGuards(t *testing.T) {
	t.Parallel()
	api := clustertest.New(t, "one")
	yes, no := true, false
	of := metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "shop-green"}}
	endpoint := func(pod string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: ready}, TargetRef: &corev1.ObjectReference{Name: pod}}
	}
	api.Answer("/apis/discovery.k8s.io/v1/namespaces/apps/endpointslices", discoveryv1.EndpointSliceList{Items: []discoveryv1.EndpointSlice{
		{ObjectMeta: of, Endpoints: []discoveryv1.Endpoint{endpoint("a", &yes), endpoint("b", &no), endpoint("c", nil)}},
		{ObjectMeta: of, Endpoints: []discoveryv1.Endpoint{endpoint("a", &yes), endpoint("d", &yes)}},
	}})
	cluster := connect(t, api)
	if ready, err := cluster.Endpoints(t.Context(), "shop-green"); err != nil || ready != 2 {
		t.Errorf("%d are ready (%v), want a and d", ready, err)
	}
	if err := cluster.satisfied(t.Context(), time.Second, []Guard{{"shop-green", 2}}); err != nil {
		t.Error(err)
	}
	err := cluster.satisfied(t.Context(), time.Second, []Guard{{"shop-green", 2}, {"shop-green", 3}})
	if err == nil || !strings.Contains(err.Error(), "shop-green has 2 ready endpoints, want 3 as in the live colour; no traffic was moved") {
		t.Errorf("too few: %v", err)
	}
}

// leases is an API server with one Lease, which refuses an update of an older version.
type leases struct {
	mutex   sync.Mutex
	settler string
	lease   *coordinationv1.Lease
	version int
	failing bool
	renewed int // the holder renews the Lease before each of this many updates
}

func (l *leases) settle(stack string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.settler = stack
}

func (l *leases) set(spec coordinationv1.LeaseSpec) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.version++
	l.lease.ResourceVersion, l.lease.Spec = fmt.Sprint(l.version), spec
}

func (l *leases) away(failing bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.failing = failing
}

func (l *leases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case l.failing:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/api/v1/namespaces/apps" && l.settler != "":
		_ = json.NewEncoder(w).Encode(corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{UID: "apps", Annotations: map[string]string{namespace.StackAnnotation: l.settler}}})
	case r.URL.Path == "/api/v1/namespaces/apps":
		http.NotFound(w, r)
	case r.URL.Path == "/api/v1/namespaces/kube-system":
		_ = json.NewEncoder(w).Encode(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{UID: "one"}})
	case r.Method == http.MethodGet && l.lease == nil:
		http.NotFound(w, r)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(l.lease)
	default:
		var patched coordinationv1.Lease
		content, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(content, &patched); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if l.renewed > 0 {
			l.renewed--
			l.version++
			l.lease.ResourceVersion = fmt.Sprint(l.version)
		}
		if l.lease != nil && patched.ResourceVersion != l.lease.ResourceVersion {
			http.Error(w, "conflict", http.StatusConflict)
			return
		}
		l.version++
		patched.ResourceVersion = fmt.Sprint(l.version)
		l.lease = &patched
		_ = json.NewEncoder(w).Encode(patched)
	}
}

func TestForceTakesALeaseThatItsHolderRenews(t *testing.T) {
	t.Parallel()
	held := &leases{settler: "local", lease: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: release.Lease, Namespace: "apps"}}, renewed: 2}
	server := httptest.NewServer(held)
	defer server.Close()
	cluster, err := Target{Kubeconfig: clustertest.Write(t, clustertest.Kubeconfig(server.URL))}.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	maria, now, seconds := "maria", metav1.NowMicro(), int32(15)
	held.set(coordinationv1.LeaseSpec{HolderIdentity: &maria, RenewTime: &now, LeaseDurationSeconds: &seconds})
	lock, _, err := cluster.Lock(t.Context(), "eve", true, func(string) {})
	if err != nil || lock.From != "maria" {
		t.Fatalf("by force: %v, %+v", err, lock)
	}
	lock.Release()
}

// locks acquires and reads the Lease of a server.
type locks struct {
	*testing.T
	held   *leases
	url    string
	waited []string // the holders that the last call of lock waited for
}

func newLocks(t *testing.T) *locks {
	t.Parallel()
	held := &leases{}
	server := httptest.NewServer(held)
	t.Cleanup(server.Close)
	return &locks{T: t, held: held, url: server.URL}
}

func (l *locks) connect() *Cluster {
	cluster, err := Target{Kubeconfig: clustertest.Write(l.T, clustertest.Kubeconfig(l.url))}.Connect(l.Context())
	if err != nil {
		l.Fatal(err)
	}
	cluster.times = leaseTimes{life: time.Second, renew: 600 * time.Millisecond, retry: 200 * time.Millisecond}
	return cluster
}

func (l *locks) lock(holder string, force bool) (*Lock, context.Context, error) {
	l.waited = nil
	return l.connect().Lock(l.Context(), holder, force, func(holder string) { l.waited = append(l.waited, holder) })
}

func (l *locks) holder(want string) {
	l.Helper()
	if got, _, err := l.connect().Holder(l.Context()); err != nil || got != want {
		l.Errorf("the holder is %q (%v), want %q", got, err, want)
	}
}

func TestLock(t *testing.T) {
	locks := newLocks(t)
	if _, _, err := locks.lock("maria", false); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("before the first deployment: %v", err)
	}
	locks.held.settle("local")
	locks.holder("")
	first, _, err := locks.lock("maria", false)
	if err != nil || first.From != "" || locks.waited != nil {
		t.Fatal(err, first, locks.waited)
	}
	locks.holder("maria")
	if _, _, err := locks.lock("ali", false); err == nil || !strings.Contains(err.Error(), "maria holds the Lease of releases: wait for its end") {
		t.Errorf("the holder is alive: %v", err)
	}
	first.Release()
	locks.holder("")
}

// The clock of a dead holder's machine is an hour ahead: only that its Lease doesn't change counts.
func TestLockOfADeadHolder(t *testing.T) {
	locks := newLocks(t)
	locks.held.settle("local")
	locks.held.lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: release.Lease, Namespace: "apps"}}
	ahead, dead, seconds := metav1.NewMicroTime(time.Now().Add(time.Hour)), "maria", int32(1)
	locks.held.set(coordinationv1.LeaseSpec{HolderIdentity: &dead, RenewTime: &ahead, LeaseDurationSeconds: &seconds})
	second, untilLost, err := locks.lock("ali", false)
	if err != nil || second.From != "maria" || !slices.Equal(locks.waited, []string{"maria"}) {
		t.Fatalf("the holder is dead: %v, %+v, waited for %v", err, second, locks.waited)
	}

	third, _, err := locks.lock("eve", true)
	if err != nil || third.From != "ali" || locks.waited != nil {
		t.Fatalf("by force: %v, %+v", err, third)
	}
	select {
	case <-untilLost.Done():
		if err := context.Cause(untilLost); !strings.Contains(err.Error(), "eve acquired the Lease of releases") {
			t.Errorf("the previous holder's context ends with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the former holder doesn't notice")
	}
	second.Release()
	locks.holder("eve")
	third.Release()
}

// An API server that is away for longer than the Lease lives doesn't lose it.
func TestLockOutlivesAnOutage(t *testing.T) {
	locks := newLocks(t)
	locks.held.settle("local")
	lock, _, err := locks.lock("eve", false)
	if err != nil {
		t.Fatal(err)
	}
	locks.held.away(true)
	time.Sleep(1500 * time.Millisecond)
	locks.held.away(false)
	if _, _, err := locks.lock("ali", false); err == nil || !strings.Contains(err.Error(), "eve holds the Lease of releases") {
		t.Errorf("after an outage of the API server: %v", err)
	}
	lock.Release()
}
