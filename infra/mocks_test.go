package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/cluster"
	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

const digest = "sha256:539ceaaae49b3a7c8a04467cf00cc6788d8e3f1675df41860d86eebc4c40524f"

// engine is an engine that records the resources.
type engine struct {
	mutex   sync.Mutex
	staging resource.PropertyMap // outputs of the stack staging
	last    resource.PropertyMap // the stack's own last outputs; nil for those of a stack on the cluster "this"

	organization string
	registered   []pulumi.MockResourceArgs
	leftOut      func(pulumi.MockResourceArgs) bool // which resources --target leaves out; nil for none
}

func (e *engine) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return resource.PropertyMap{}, nil
}

func (e *engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.registered = append(e.registered, args)
	state := args.Inputs.Copy()
	switch {
	case args.TypeToken == "pulumi:pulumi:StackReference" && strings.HasSuffix(args.Name, "/staging") && e.staging != nil:
		state["outputs"] = resource.NewObjectProperty(e.staging)
	case args.TypeToken == "pulumi:pulumi:StackReference":
		last := e.last
		if last == nil {
			last = resource.PropertyMap{"cluster": resource.NewProperty("this")}
		}
		state["outputs"] = resource.NewObjectProperty(last)
	case args.TypeToken == "docker:index/image:Image":
		repository := args.Inputs["imageName"].StringValue()
		repository = repository[:strings.LastIndex(repository, ":")]
		state["repoDigest"] = resource.NewStringProperty(repository + "@" + digest)
	case state["metadata"].IsObject():
		metadata := state["metadata"].ObjectValue().Copy()
		if _, named := metadata["name"]; !named {
			metadata["name"] = resource.NewStringProperty(args.Name + "-generated")
		}
		state["metadata"] = resource.NewObjectProperty(metadata)
	}
	if e.leftOut != nil && e.leftOut(args) {
		return "", resource.PropertyMap{}, nil
	}
	return args.Name, state, nil
}

// local is a first update of the stack local, once for all tests that only read its objects.
func local(t *testing.T) *engine {
	t.Helper()
	if firstUpdate == nil {
		values, updated := given(t), &engine{}
		values["platform:kubeconfig"] = clustertest.New(t, "this").Kubeconfig(t) // without definitions
		if err := up(t, stack.Local, values, updated); err != nil {
			t.Fatal(err)
		}
		firstUpdate = updated
	}
	return firstUpdate
}

var firstUpdate *engine

// rendered returns the objects of a stack without a cluster. It renders each stack once. Callers change only copies.
func rendered(t *testing.T, name, file string) []object {
	t.Helper()
	if renders[name] == nil {
		objects, err := render("..", name, file)
		if err != nil {
			t.Fatal(err)
		}
		renders[name] = objects
	}
	return slices.Clone(renders[name])
}

var renders = map[string][]object{}

// built is the version of a service's sources in the project.
func built(t *testing.T, service string) string {
	t.Helper()
	return local(t).ofType("core/v1:ConfigMap")[service+"-blue"].at("data", "SERVICE_VERSION").(string)
}

// manifest is a resource's inputs as plain values.
type manifest map[string]any

// at returns the value at a path of field names and list indexes.
func (m manifest) at(path ...any) any {
	var value any = map[string]any(m)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := value.(map[string]any)
			value = fields[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

// ofType returns the manifests of a type, such as apps/v1:Deployment, by name.
func (e *engine) ofType(kind string) map[string]manifest {
	found := map[string]manifest{}
	for _, created := range e.registered {
		if strings.HasSuffix(created.TypeToken, kind) {
			found[created.Name] = cluster.Plain(created.Inputs)
		}
	}
	return found
}

// open returns all texts that aren't marked as secret.
func open(value resource.PropertyValue) []string {
	var texts []string
	switch {
	case value.IsString():
		texts = append(texts, value.StringValue())
	case value.IsObject():
		for _, field := range value.ObjectValue() {
			texts = append(texts, open(field)...)
		}
	case value.IsArray():
		for _, element := range value.ArrayValue() {
			texts = append(texts, open(element)...)
		}
	}
	return texts
}

// defined adds the definitions of CloudNativePG by another stack to a cluster. An update that doesn't create these large objects is faster.
func defined(api *clustertest.API) *clustertest.API {
	api.Answer("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusters.postgresql.cnpg.io", `{"apiVersion": "meta.k8s.io/v1",
		"kind": "PartialObjectMetadata", "metadata": {"annotations": {"`+namespace.StackAnnotation+`": "neighbour"}}, "spec": {"primaryLease": {}}}`)
	return api
}

// given is a complete configuration of a stack on a reachable cluster.
func given(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{
		"platform:kubeconfig": defined(clustertest.New(t, "this")).Kubeconfig(t),
		"platform:registry":   "localhost:5000",
		"kubernetes:anything": "belongs to someone else",
	}
	for name, value := range secretValues() {
		values["platform:"+name] = value
	}
	return values
}

// remote adds the settings that all stacks except local need.
func remote(values map[string]string) map[string]string {
	values["platform:edge"] = `{"host":"api.example.com","issuer":"letsencrypt"}`
	values["platform:monitoring"] = `{"prometheusUrl":"https://prometheus.example.com","alertmanagerUrl":"https://alertmanager.example.com",
		"grafanaUrl":"https://grafana.example.com","runbooks":"https://example.com/runbooks"}`
	values["platform:backup"] = `{"bucket":"s3://backups/shop"}`
	values["platform:pagerDutyRoutingKey"], values["platform:deadMansSwitchUrl"] = "0123456789abcdef", "https://alive.example.com/x"
	return values
}

// secretValues are all secrets as the command secrets generates them. They are generated once, since keys take time.
var secretValues = sync.OnceValue(func() map[string]string {
	now := time.Now()
	authority, err := certificate.NewAuthority(now)
	if err != nil {
		panic(err)
	}
	values := map[string]string{}
	for _, known := range catalog.Secrets(catalog.Services(), true) {
		value := "value-of-" + known.Name + "-0123456789abcdef"
		switch known.Kind {
		case catalog.SigningKeys:
			value = "first:" + base64.RawURLEncoding.EncodeToString([]byte(value)[:32])
		case catalog.JWTKeys:
			value = "first:" + catalog.Ed25519Seed + base64.RawURLEncoding.EncodeToString([]byte((value + value)[:32]))
		case catalog.CertificateAuthority:
			value = authority
		}
		values[known.Name] = value
	}
	return values
})

// valueOf is the value of a secret in these tests.
func valueOf(name string) string { return secretValues()[name] }

// usersSchema is the hash of the migrations of user-service in the project.
const usersSchema = "49bd24721223"

// checkout is the folder of a project with trivial services. Only user-service has migrations. All tests share the project, so Go links
// the services once.
var checkout string

func TestMain(m *testing.M) {
	files := fstest.MapFS{
		"Pulumi.yaml":     {Data: []byte("name: platform\n")},
		"apps/Dockerfile": {Data: []byte("FROM scratch\n")},
		"apps/go.mod":     {Data: []byte("module example.com/apps\n\ngo 1.26\n")},
		"infra/main.go":   {Data: []byte("package main\n")},

		"apps/user-service/migrations/1.sql": {Data: []byte("SELECT 1;\n")},
	}
	for _, service := range catalog.Services() {
		files["apps/"+service.Name+"/main.go"] = &fstest.MapFile{Data: []byte("package main\n\nfunc main() {}\n")}
	}
	var err error
	if checkout, err = os.MkdirTemp("", "project"); err == nil {
		err = os.CopyFS(checkout, files)
	}
	if err != nil {
		panic(err)
	}
	debug.SetGCPercent(-1) // each update allocates much for a short time
	debug.SetMemoryLimit(1 << 30)
	status := m.Run()
	_ = os.RemoveAll(checkout)
	os.Exit(status)
}

// up runs the Pulumi program in the project.
func up(t *testing.T, name stack.Environment, values map[string]string, engine *engine) error {
	t.Helper()
	t.Chdir(filepath.Join(checkout, "infra"))

	var secretKeys []string
	for _, secret := range append(catalog.Secrets(catalog.Services(), true), catalog.GivenSecrets(false)...) {
		secretKeys = append(secretKeys, "platform:"+secret.Name)
	}
	silent := func(_ *cluster.Cluster, _ *pulumi.Context, deadline time.Duration) (cluster.Rollout, error) {
		return cluster.Within(deadline), nil
	}
	var given pulumi.RunInfo
	return pulumi.RunErr(
		func(ctx *pulumi.Context) error { return run(ctx, given, &cluster.Lock{}, silent) },
		pulumi.WithMocksWithOrganization(engine.organization, "platform", string(name), engine),
		func(info *pulumi.RunInfo) { info.Config, info.ConfigSecretKeys = values, secretKeys },
		func(info *pulumi.RunInfo) { given = *info },
	)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
