package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/policy"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// former is the version that the services run before the update. The program compiles other ones.
const former = "0123456789ab"

// runs is a cluster on which all services run the former version in blue with three replicas, and in the standby colours.
func runs(
	t *testing.T, change func(name string, live *corev1.Service, blue *appsv1.Deployment), standby ...release.Colour,
) *clustertest.API {
	t.Helper()
	api := clustertest.New(t, "this")
	var services corev1.ServiceList
	var deployments appsv1.DeploymentList
	for _, service := range catalog.Services() {
		labels := map[string]string{"app.kubernetes.io/name": service.Name, release.ColourLabel: "blue"}
		mark := release.Mark{Live: release.Blue, Version: former, At: time.Now().Add(-time.Minute)}
		live := corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: service.Name, Annotations: mark.Annotations()},
			Spec:       corev1.ServiceSpec{Selector: labels},
		}
		replicas := int32(3)
		blue := appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: service.Name + "-blue", Annotations: map[string]string{release.VersionAnnotation: former}},
			Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: "localhost:5000/" + service.Name + "@" + digest}}},
			}},
		}
		if change != nil {
			change(service.Name, &live, &blue)
		}
		services.Items, deployments.Items = append(services.Items, live), append(deployments.Items, blue)
		for _, colour := range standby {
			idle := *blue.DeepCopy()
			idle.Name, idle.Annotations = colour.Name(service.Name), map[string]string{release.VersionAnnotation: former}
			idle.Spec.Template.Labels[release.ColourLabel] = string(colour)
			deployments.Items = append(deployments.Items, idle)
		}
	}
	api.Answer("/api/v1/namespaces/apps/services", services)
	api.Answer("/apis/apps/v1/namespaces/apps/deployments", deployments)
	return api
}

// on is a complete configuration of the stack local on that cluster.
func on(t *testing.T, api *clustertest.API) map[string]string {
	t.Helper()
	values := given(t)
	values["platform:kubeconfig"] = defined(api).Kubeconfig(t)
	return values
}

// ignored are the properties of a resource that the update doesn't change.
func (e *engine) ignored(kind, name string) []string {
	for _, created := range e.registered {
		if strings.HasSuffix(created.TypeToken, kind) && created.Name == name {
			return created.RegisterRPC.GetIgnoreChanges()
		}
	}
	return nil
}

// A release whose migrations have run already doesn't wait for a Job.
func TestVersionsWithTheSameMigrationsShareOneJob(t *testing.T) {
	for name, test := range map[string]struct {
		live string   // the schema of the live version
		want []string // the schemas with a Job
	}{
		"the same migrations":       {usersSchema, []string{usersSchema}},
		"other migrations":          {"000000000000", []string{"000000000000", usersSchema}},
		"an unknown schema is live": {"", []string{former, usersSchema}},
	} {
		t.Run(name, func(t *testing.T) {
			engine := &engine{}
			api := runs(t, func(service string, _ *corev1.Service, blue *appsv1.Deployment) {
				if service == "user-service" && test.live != "" {
					blue.Annotations[release.SchemaAnnotation] = test.live
				}
			})
			if err := up(t, stack.Local, on(t, api), engine); err != nil {
				t.Fatal(err)
			}
			var found []string
			for name := range engine.ofType("batch/v1:Job") {
				if schema, ours := strings.CutPrefix(name, "user-service-migrate-"); ours {
					found = append(found, schema)
					if ignored := engine.ignored("batch/v1:Job", name); !slices.Contains(ignored, "spec") || !slices.Contains(ignored, "metadata") {
						t.Errorf("another version runs %s again: it ignores changes of %v", name, ignored)
					}
				}
			}
			if slices.Sort(found); !slices.Equal(found, test.want) {
				t.Errorf("the migrations are %v, want %v", found, test.want)
			}
			waits := engine.dependencies(t, "apps/v1:Deployment user-service-green")
			if !slices.ContainsFunc(waits, func(urn string) bool { return strings.HasSuffix(urn, "user-service-migrate-"+usersSchema) }) {
				t.Errorf("the candidate waits for %v", waits)
			}
			green := engine.ofType("apps/v1:Deployment")["user-service-green"]
			if got := green.at("metadata", "annotations", release.SchemaAnnotation); got != usersSchema {
				t.Errorf("the candidate records the schema %v, want %s", got, usersSchema)
			}
		})
	}
}

func TestNewVersionGetsTrafficOnceVerified(t *testing.T) {
	engine := &engine{}
	if err := up(t, stack.Local, on(t, runs(t, nil)), engine); err != nil {
		t.Fatal(err)
	}
	deployments, jobs, services := engine.ofType("apps/v1:Deployment"), engine.ofType("batch/v1:Job"), engine.ofType("core/v1:Service")
	var verifications []string
	for _, service := range catalog.Services() {
		verifications = append(verifications, "::"+service.Name+"-green-verify")
	}
	for _, service := range catalog.Services() {
		blue, green := service.Name+"-blue", service.Name+"-green"
		if services[service.Name].at("spec", "selector", "colour") != "green" {
			t.Errorf("%s selects %v", service.Name, services[service.Name].at("spec", "selector"))
		}
		waits := engine.dependencies(t, "core/v1:Service "+service.Name)
		for _, want := range verifications { // of all services: they switch together or not at all
			if !slices.ContainsFunc(waits, func(urn string) bool { return strings.HasSuffix(urn, want) }) {
				t.Errorf("the live Service of %s doesn't wait for %s, but for %v", service.Name, want, waits)
			}
		}
		waits = engine.dependencies(t, "batch/v1:Job "+green+"-verify")
		if !slices.ContainsFunc(waits, func(urn string) bool { return strings.HasSuffix(urn, "Deployment::"+green) }) {
			t.Errorf("the verification of %s waits for %v", green, waits)
		}
		if got := deployments[green].at("spec", "replicas"); got != 3 {
			t.Errorf("%s begins with %v replicas, want the 3 that carry the traffic", green, got)
		}
		for _, name := range []string{blue, green} {
			if got := engine.ofType("HorizontalPodAutoscaler")[name].at("spec", "minReplicas"); got != 3 {
				t.Errorf("%s may shrink to %v while the traffic moves", name, got)
			}
		}
		if got := services[green].at("spec", "clusterIP"); got != "None" {
			t.Errorf("%s has an address of its own: %v", green, got)
		}
		for kind, property := range map[string]string{
			"apps/v1:Deployment": "spec.template.spec.containers[0].image", "core/v1:ConfigMap": "data",
		} {
			if !slices.Contains(engine.ignored(kind, blue), property) {
				t.Errorf("%s %s, which has the traffic, gets another %s", kind, blue, property)
			}
			if slices.Contains(engine.ignored(kind, green), property) {
				t.Errorf("%s %s doesn't get its %s", kind, green, property)
			}
		}
		if len(engine.ignored("core/v1:Secret", blue)) != 0 {
			t.Errorf("%s doesn't get rotated secrets", blue)
		}
		environment := jobs[green+"-verify"].at("spec", "template", "spec", "containers", 0, "env")
		if environment == nil || jobs[green+"-verify"].at("spec", "backoffLimit") != 0 {
			t.Errorf("%s is verified by %v", green, jobs[green+"-verify"])
		}
		annotations := services[service.Name].at("metadata", "annotations").(map[string]any)
		if live := annotations["platform.example/live"].(string); !strings.HasPrefix(live, "green ") ||
			annotations["platform.example/standby"] != former || annotations["pulumi.com/patchForce"] != "true" {
			t.Errorf("%s is marked %v", service.Name, annotations)
		}
	}
}

func TestUnchangedServicesStayLive(t *testing.T) {
	api := runs(t, func(name string, live *corev1.Service, blue *appsv1.Deployment) {
		blue.Annotations[release.VersionAnnotation] = built(t, name)
		live.Annotations = release.Mark{Live: release.Blue, Version: built(t, name)}.Annotations()
	})
	engine := &engine{}
	if err := up(t, stack.Local, on(t, api), engine); err != nil {
		t.Fatal(err)
	}
	for _, service := range catalog.Services() {
		if _, exists := engine.ofType("apps/v1:Deployment")[service.Name+"-green"]; exists {
			t.Errorf("%s gets a second colour", service.Name)
		}
		if slices.Contains(engine.ignored("core/v1:ConfigMap", service.Name+"-blue"), "data") {
			t.Errorf("%s doesn't get its configuration", service.Name)
		}
	}
}

func TestVerificationJobsStayAsLongAsTheStandby(t *testing.T) {
	for verified, want := range map[string]bool{"2026-03-01T12:00:00.5Z": true, "": false} {
		api := runs(t, func(name string, live *corev1.Service, blue *appsv1.Deployment) {
			version := built(t, name)
			blue.Annotations = map[string]string{release.VersionAnnotation: version, release.MadeAnnotation: "2026-03-01T12:00:00.5Z"}
			live.Annotations = release.Mark{
				Live: release.Blue, Version: version, Standby: release.Former{Version: former}, Verified: verified, At: time.Now(),
			}.Annotations()
		}, release.Green)
		engine := &engine{}
		if err := up(t, stack.Local, on(t, api), engine); err != nil {
			t.Fatal(err)
		}
		for _, service := range catalog.Services() {
			name := service.Name + "-blue-verify"
			if _, declared := engine.ofType("batch/v1:Job")[name]; declared != want {
				t.Errorf("after a release marked as verified %q, the stack has the Job %s: %v, want %v", verified, name, declared, want)
			}
			if ignored := engine.ignored("batch/v1:Job", name); want && !slices.Contains(ignored, "spec") {
				t.Errorf("the Job %s of a finished release changes: it ignores only %v", name, ignored)
			}
		}
	}
}

func TestRolledBackVersionIsHeld(t *testing.T) {
	api := runs(t, func(name string, live *corev1.Service, _ *appsv1.Deployment) {
		live.Annotations = release.Mark{Live: release.Blue, Version: former, TakenBack: built(t, name)}.Annotations()
	})
	for request, want := range map[string]bool{"": false, release.Request{Again: true}.String(): true} {
		t.Setenv(release.RequestVariable, request)
		engine := &engine{}
		if err := up(t, stack.Local, on(t, api), engine); err != nil {
			t.Fatal(err)
		}
		if _, released := engine.ofType("apps/v1:Deployment")["user-service-green"]; released != want {
			t.Errorf("request %q: released is %v", request, released)
		}
		if want {
			continue
		}
		if !slices.Contains(engine.ignored("apps/v1:Deployment", "user-service-blue"), "spec.template.spec.containers[0].image") {
			t.Error("the live colour gets the image that was rolled back")
		}
	}
}

// Somebody may roll back or release between the release of a commit and the record of its tests.
func TestOnlyVersionsOfTheSourcesAreRecordedAsTested(t *testing.T) {
	request := release.Request{Services: map[string]release.Deployed{}, Tested: strings.Repeat("c", 40)}
	for _, service := range catalog.Services() {
		request.Services[service.Name] = release.Deployed{Version: built(t, service.Name), Image: "localhost:5000/" + service.Name + "@" + digest}
	}
	for version, want := range map[string]string{
		built(t, "user-service"): "",
		former:                   "user-service runs version " + former + ", but the sources have version " + built(t, "user-service"),
		"":                       "user-service runs version none",
	} {
		request.Services["user-service"] = release.Deployed{Version: version, Image: request.Services["user-service"].Image}
		t.Setenv(release.RequestVariable, request.String())
		api := runs(t, func(name string, live *corev1.Service, blue *appsv1.Deployment) {
			blue.Annotations[release.VersionAnnotation] = request.Services[name].Version
			live.Annotations = release.Mark{Live: release.Blue, Version: request.Services[name].Version}.Annotations()
		})
		engine := &engine{}
		err := up(t, stack.Local, on(t, api), engine)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("version %q: %v, want %q", version, err, want)
		}
	}
}

func TestOlderVersionIsReleasedByDigest(t *testing.T) {
	old := release.Deployed{Version: "ba9876543210", Image: "localhost:5000/user-service@" + strings.Replace(digest, "539", "935", 1)}
	t.Setenv(release.RequestVariable, release.Request{Services: map[string]release.Deployed{"user-service": old}}.String())
	engine := &engine{}
	if err := up(t, stack.Local, on(t, runs(t, nil)), engine); err != nil {
		t.Fatal(err)
	}
	if got := engine.ofType("apps/v1:Deployment")["user-service-green"].at("spec", "template", "spec", "containers", 0, "image"); got != old.Image {
		t.Errorf("green runs %v, want %s", got, old.Image)
	}
}

func TestUpdateFailsDuringARelease(t *testing.T) {
	api := runs(t, nil)
	api.Settle(string(stack.Local))
	const holder = "maria on her laptop"
	renew := func() {
		name, seconds, renewed := holder, int32(15), metav1.NowMicro()
		api.Answer("/apis/coordination.k8s.io/v1/namespaces/apps/leases/release", coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &renewed,
		}})
	}
	renew()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			renew()
		}
	}()
	err := up(t, stack.Local, on(t, api), &engine{})
	if err == nil || !strings.Contains(err.Error(), "stack local: maria on her laptop holds the Lease of releases") {
		t.Errorf("a second run: %v", err)
	}
	t.Setenv(release.RequestVariable, release.Request{Holder: "ali"}.String())
	if err := up(t, stack.Local, on(t, api), &engine{}); err == nil || !strings.Contains(err.Error(), `"maria on her laptop" holds the Lease of releases, not "ali"`) {
		t.Errorf("a run for another holder: %v", err)
	}
	t.Setenv(release.RequestVariable, release.Request{Holder: holder}.String())
	if err := up(t, stack.Local, on(t, api), &engine{}); err != nil {
		t.Errorf("the holder's own run: %v", err)
	}
}

func TestSelectorChangedByHandFailsTheUpdate(t *testing.T) {
	api := runs(t, func(name string, live *corev1.Service, _ *appsv1.Deployment) {
		if name == "user-service" {
			live.Spec.Selector = map[string]string{"app.kubernetes.io/name": name, release.ColourLabel: "green"}
		}
	})
	engine := &engine{}
	err := up(t, stack.Local, on(t, api), engine)
	if err == nil || !strings.Contains(err.Error(), "stack local: service user-service: its live Service selects green (nothing)") {
		t.Errorf("got %v", err)
	}
	for _, created := range engine.registered {
		if strings.HasPrefix(created.TypeToken, "kubernetes:") {
			t.Fatalf("%s %s was registered", created.TypeToken, created.Name)
		}
	}
}

// An image that was set by hand is neither kept nor exported.
func TestImageSetByHandIsRestored(t *testing.T) {
	api := runs(t, func(name string, live *corev1.Service, blue *appsv1.Deployment) {
		version := built(t, name)
		container := &blue.Spec.Template.Spec.Containers[0]
		blue.Annotations[release.VersionAnnotation] = version
		live.Annotations = release.Mark{Live: release.Blue, Version: version, Image: container.Image}.Annotations()
		if name == "user-service" {
			container.Image = strings.Replace(container.Image, "539", "fff", 1)
		}
	})
	const path = "/apis/apps/v1/namespaces/apps/deployments/user-service-blue"
	api.Answer(path, `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"uid": "blue", "annotations": {"`+namespace.StackAnnotation+`": "local"}}}`)
	engine := &engine{}
	if err := up(t, stack.Local, on(t, api), engine); err != nil {
		t.Fatal(err)
	}
	image := "localhost:5000/user-service@" + digest
	if got := engine.ofType("apps/v1:Deployment")["user-service-blue"].at("spec", "template", "spec", "containers", 0, "image"); got != image {
		t.Errorf("blue runs %v, want %s", got, image)
	}
	annotations := engine.ofType("core/v1:Service")["user-service"].at("metadata", "annotations").(map[string]any)
	if got, _ := annotations["platform.example/live-image"].(string); !strings.HasSuffix(got, " "+image) {
		t.Errorf("its mark holds the image %q, want %s", got, image)
	}
	if !slices.ContainsFunc(api.Asked(), func(created string) bool { return strings.HasPrefix(created, path+"?fieldManager=") }) {
		t.Error("the Deployment isn't restored")
	}
}

// With --target, a service without a candidate keeps its traffic, and the update doesn't wait for it.
func TestTargetedUpdateWithoutCandidatesMovesNoTraffic(t *testing.T) {
	for _, left := range []string{"apps/v1:Deployment", "batch/v1:Job"} {
		engine := &engine{leftOut: func(args pulumi.MockResourceArgs) bool {
			return strings.HasSuffix(args.TypeToken, left) && strings.Contains(args.Name, "-green") && args.Name != "order-service-green"
		}}
		if err := up(t, stack.Local, on(t, runs(t, nil)), engine); err != nil {
			t.Fatal(err)
		}
		service := engine.ofType("core/v1:Service")["user-service"]
		annotations := service.at("metadata", "annotations").(map[string]any)
		if got := service.at("spec", "selector", "colour"); got != "blue" || annotations["platform.example/live"] != "blue "+former {
			t.Errorf("without its %s, the live Service selects %v and is marked %v", left, got, annotations)
		}
		if got := engine.ofType("core/v1:Service")["order-service"].at("spec", "selector", "colour"); (got == "green") != (left == "apps/v1:Deployment") {
			t.Errorf("without its %s, the live Service of order-service selects %v", left, got)
		}
	}
}

// A Service keeps its address during a release, so neither an update nor a preview changes the edge.
func TestEdgeUsesTheClusterIPOfTheGateway(t *testing.T) {
	api := runs(t, func(_ string, live *corev1.Service, _ *appsv1.Deployment) { live.Spec.ClusterIP = "10.96.0.7" })
	engine := &engine{}
	if err := up(t, stack.Local, on(t, api), engine); err != nil {
		t.Fatal(err)
	}
	routes, _ := engine.ofType("core/v1:ConfigMap")["edge"].at("data", "routes.yaml").(string)
	if !strings.Contains(routes, "url: http://10.96.0.7:8080") || !strings.Contains(routes, "fallback: name") {
		t.Errorf("the edge's routes are\n%s", routes)
	}
}

func TestJobRetiresTheStandby(t *testing.T) {
	engine := &engine{}
	if err := up(t, stack.Local, on(t, runs(t, nil)), engine); err != nil {
		t.Fatal(err)
	}
	job := engine.ofType("batch/v1:Job")["retire"]
	environment, _ := job.at("spec", "template", "spec", "containers", 0, "env", 2, "value").(string)
	var orders release.Orders
	if err := json.Unmarshal([]byte(environment), &orders); err != nil || len(orders.Services) != len(catalog.Services()) {
		t.Fatalf("its orders are %q (%v)", environment, err)
	}
	if image := job.at("spec", "template", "spec", "containers", 0, "image"); image != "localhost:5000/api-gateway@"+digest {
		t.Errorf("it runs %v", image)
	}
	for _, finding := range policy.Check(stack.Local, append(rendered(t, "local", ""), job)) {
		t.Error(finding)
	}
	for i, service := range catalog.Services() {
		if got, want := orders.Services[i].Patches[1].Path, "/apis/apps/v1/namespaces/apps/deployments/"+service.Name+"-blue"; got != want {
			t.Errorf("%s: it patches %s, want %s", service.Name, got, want)
		}
		if slices.Contains(engine.ignored("apps/v1:Deployment", service.Name+"-green"), "spec.replicas") {
			t.Errorf("%s-green begins with the replicas that it was left with", service.Name)
		}
	}
}

// A version that isn't verified, or was rolled back, renews no certificates.
func TestLiveVersionRenewsCertificates(t *testing.T) {
	running := "localhost:5000/api-gateway@" + strings.Replace(digest, "539", "935", 1)
	candidate := "localhost:5000/api-gateway@" + digest
	version := built(t, "api-gateway")
	for name, test := range map[string]struct {
		mark    release.Mark
		leftOut func(pulumi.MockResourceArgs) bool
		want    string
	}{
		"a release":                  {release.Mark{}, nil, candidate},
		"a release outside --target": {release.Mark{}, func(args pulumi.MockResourceArgs) bool { return args.Name == "api-gateway-green" }, running},
		"after a rollback":           {release.Mark{TakenBack: version}, nil, running},
		"no change":                  {release.Mark{Version: version, Image: running}, nil, running},
	} {
		t.Run(name, func(t *testing.T) {
			api := runs(t, func(name string, live *corev1.Service, blue *appsv1.Deployment) {
				if name != "api-gateway" {
					return
				}
				mark := test.mark
				mark.Live, mark.Version = release.Blue, cmp.Or(mark.Version, blue.Annotations[release.VersionAnnotation])
				live.Annotations, blue.Annotations = mark.Annotations(), map[string]string{release.VersionAnnotation: mark.Version}
				blue.Spec.Template.Spec.Containers[0].Image = running
			})
			engine := &engine{leftOut: test.leftOut}
			if err := up(t, stack.Local, on(t, api), engine); err != nil {
				t.Fatal(err)
			}
			job := engine.ofType("batch/v1:CronJob")["certificates"]
			if got := job.at("spec", "jobTemplate", "spec", "template", "spec", "containers", 0, "image"); got != test.want {
				t.Errorf("the CronJob runs %v, want %s", got, test.want)
			}
			waits := slices.ContainsFunc(engine.dependencies(t, "batch/v1:CronJob certificates"), func(urn string) bool {
				return strings.HasSuffix(urn, "::api-gateway-green-verify")
			})
			if waits != (test.want == candidate) && test.leftOut == nil {
				t.Errorf("the CronJob waits for the verification: %v", waits)
			}
		})
	}
}

func TestNoRetirementWithoutAStandby(t *testing.T) {
	if _, exists := local(t).ofType("batch/v1:Job")["retire"]; exists {
		t.Error("there is a Job")
	}
}

func TestUpdateKeepsRestarts(t *testing.T) {
	api := runs(t, nil)
	api.Answer("/apis/apps/v1/namespaces/edge/deployments", `{"items": [{"metadata": {"name": "restarted", "managedFields": [{
		"manager": "kubectl-rollout", "fieldsV1": {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}}
	}]}}]}`)
	api.Answer("/apis/apps/v1/namespaces/edge/deployments/restarted", "{}")
	if err := up(t, stack.Local, on(t, api), &engine{}); err != nil {
		t.Fatal(err)
	}
	const patched = "/apis/apps/v1/namespaces/edge/deployments/restarted?"
	if !slices.ContainsFunc(api.Asked(), func(asked string) bool { return strings.HasPrefix(asked, patched) }) {
		t.Error("the annotation keeps its manager, so the Kubernetes provider removes it")
	}
}
