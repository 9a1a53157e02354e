package stack_test

import (
	"slices"
	"strings"
	"testing"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

func allSecrets() []string {
	var names []string
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		names = append(names, secret.Name)
	}
	return names
}

func without(name string) []string {
	return slices.DeleteFunc(allSecrets(), func(secret string) bool { return secret == name })
}

func TestDefaults(t *testing.T) {
	tests := []struct {
		name  string
		plain map[string]string
		want  stack.Stack
	}{
		{"local", map[string]string{"registry": "localhost:5000"}, stack.Stack{
			Name: stack.Local, Registry: "localhost:5000", Build: true, Demo: true,
			Gateway:  stack.Gateway{Type: stack.NodePort, NodePort: 30080},
			Replicas: stack.Replicas{Min: 1, Max: 3},
			Postgres: stack.Postgres{VolumeSize: 2048, CPU: 1000, Memory: 512},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Memory: 128, VolumeSize: 1024},
		}},
		{"staging", map[string]string{"registry": "registry.example.com/platform"}, stack.Stack{
			Name: stack.Staging, Registry: "registry.example.com/platform", Build: true,
			Gateway:  stack.Gateway{Type: stack.ClusterIP},
			Replicas: stack.Replicas{Min: 2, Max: 6},
			Postgres: stack.Postgres{VolumeSize: 20480, CPU: 1000, Memory: 1024},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Memory: 256, VolumeSize: 5120},
		}},
		{"production", nil, stack.Stack{
			Name:     stack.Production,
			Gateway:  stack.Gateway{Type: stack.ClusterIP},
			Replicas: stack.Replicas{Min: 3, Max: 20},
			Postgres: stack.Postgres{VolumeSize: 102400, CPU: 4000, Memory: 8192},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Memory: 1024, VolumeSize: 20480},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := stack.Parse(test.name, catalog.Services(), test.plain, allSecrets())
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestGivenValuesReplaceDefaults(t *testing.T) {
	got, err := stack.Parse("local", catalog.Services(), map[string]string{
		"registry":     "10.0.0.1:5000/platform",
		"kubeconfig":   ".state/kubeconfig",
		"kubeContext":  "elsewhere",
		"storageClass": "fast",
		"demo":         "false",
		"gateway":      `{"type":"LoadBalancer","nodePort":31000}`,
		"postgres":     `{"volumeSize":"10Gi","cpu":"2","memory":"4Gi"}`,
		"redis":        `{"memory":"64Mi"}`,
		"stream":       `{"memory":"64Mi","volumeSize":"2Gi"}`,
		"replicas":     `{"min":2,"max":5}`,
	}, allSecrets())
	if err != nil {
		t.Fatal(err)
	}
	want := stack.Stack{
		Name: stack.Local, Registry: "10.0.0.1:5000/platform", Build: true,
		Kubeconfig: ".state/kubeconfig", KubeContext: "elsewhere", StorageClass: "fast",
		Gateway:  stack.Gateway{Type: stack.LoadBalancer, NodePort: 31000},
		Replicas: stack.Replicas{Min: 2, Max: 5},
		Postgres: stack.Postgres{VolumeSize: 10240, CPU: 2000, Memory: 4096},
		Redis:    stack.Redis{Memory: 64},
		Stream:   stack.Stream{Memory: 64, VolumeSize: 2048},
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFaults(t *testing.T) {
	registry := map[string]string{"registry": "localhost:5000"}
	with := func(key, text string) map[string]string {
		return map[string]string{"registry": "localhost:5000", key: text}
	}
	tests := []struct {
		name   string
		stack  string
		plain  map[string]string
		secret []string
		want   string
	}{
		{"an unknown stack", "dev", registry, allSecrets(),
			`stack dev: unknown stack: want one of local, staging, production`},
		{"no registry", "local", nil, allSecrets(),
			`stack local: platform:registry: not set: want a registry such as localhost:5000 or registry.example.com/platform`},
		{"an empty registry is not an unset one", "production", map[string]string{"registry": ""}, allSecrets(),
			`stack production: platform:registry: "": want a registry such as`},
		{"a registry that Docker Hub would swallow", "local", map[string]string{"registry": "platform"}, allSecrets(),
			`stack local: platform:registry: "platform": want a registry such as`},
		{"zero replicas", "local", with("replicas", `{"min":0}`), allSecrets(),
			`stack local: platform:replicas.min: "0": want a whole number from 1 to 100`},
		{"fewer replicas at most than at least", "production", with("replicas", `{"max":2}`), allSecrets(),
			`stack production: platform:replicas.max: 2 is below replicas.min 3`},
		{"another Service type", "local", with("gateway", `{"type":"Ingress"}`), allSecrets(),
			`stack local: platform:gateway.type: "Ingress": want one of ClusterIP, NodePort, LoadBalancer`},
		{"NodePort without a port", "staging", with("gateway", `{"type":"NodePort"}`), allSecrets(),
			`stack staging: platform:gateway.nodePort: not set: gateway.type NodePort needs a port`},
		{"a privileged port", "local", with("gateway", `{"nodePort":80}`), allSecrets(),
			`stack local: platform:gateway.nodePort: "80": want a port from 30000 to 32767`},
		{"a null", "local", with("gateway", `{"type":null}`), allSecrets(),
			`stack local: platform:gateway.type: "": want one of`},
		{"a size without unit", "local", with("postgres", `{"memory":"512"}`), allSecrets(),
			`stack local: platform:postgres.memory: "512": want a size such as 512Mi or 4Gi`},
		{"too small a Postgres", "local", with("postgres", `{"memory":"64Mi"}`), allSecrets(),
			`stack local: platform:postgres.memory: "64Mi": want at least 256Mi`},
		{"too small a Redis", "local", with("redis", `{"memory":"1Mi"}`), allSecrets(),
			`stack local: platform:redis.memory: "1Mi": want at least 16Mi`},
		{"too small a stream", "local", with("stream", `{"memory":"1Mi"}`), allSecrets(),
			`stack local: platform:stream.memory: "1Mi": want at least 16Mi`},
		{"too small a volume for the stream", "local", with("stream", `{"volumeSize":"256Mi"}`), allSecrets(),
			`stack local: platform:stream.volumeSize: "256Mi" is below three times stream.memory "128Mi"`},
		{"neither true nor false", "local", with("demo", "yes"), allSecrets(),
			`stack local: platform:demo: "yes": want true or false`},
		{"a demo user in production", "production", with("demo", "true"), allSecrets(),
			`stack production: platform:demo: true: only the stack local has a demo user`},
		{"a demo user in staging", "staging", with("demo", "true"), allSecrets(),
			`stack staging: platform:demo: true: only the stack local has a demo user`},
		{"building in production", "production", with("build", "true"), allSecrets(),
			`stack production: platform:build: true: production never builds: it runs what staging has tested`},
		{"not building in staging", "staging", with("build", "false"), allSecrets(),
			`stack staging: platform:build: false: staging must build`},
		{"an unknown key", "local", with("regsitry", "x"), allSecrets(),
			`stack local: platform:regsitry: unknown key: the nearest known one is platform:registry`},
		{"an unknown key in an object", "local", with("gateway", `{"nodeport":30081}`), allSecrets(),
			`stack local: platform:gateway.nodeport: unknown key: the nearest known one is platform:gateway.nodePort`},
		{"an unknown secret", "local", registry, append(allSecrets(), "jwtKey"),
			`stack local: platform:jwtKey: unknown key: the nearest known one is platform:jwtKeys`},
		{"a missing secret", "staging", registry, without("userServiceDatabasePassword"),
			"stack staging: platform:userServiceDatabasePassword: missing secret: run `make secrets STACK=staging`"},
		{"a secret in plain text", "staging", with("jwtKeys", "hush"),
			without("jwtKeys"),
			"stack staging: platform:jwtKeys: stored in plain text: remove it with " +
				"`pulumi config rm platform:jwtKeys --stack staging`, then run `make secrets STACK=staging`"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := stack.Parse(test.stack, catalog.Services(), test.plain, test.secret)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Error("quotes a secret")
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, err := stack.Parse("production", catalog.Services(), map[string]string{
		"demo":     "true",
		"replicas": `{"min":0,"max":2000}`,
		"colour":   "red",
	}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	var paths []string
	for _, line := range strings.Split(err.Error(), "\n") {
		path, _, _ := strings.Cut(strings.TrimPrefix(line, "stack production: platform:"), ":")
		paths = append(paths, path)
	}
	want := "colour demo demoUserPassword jwtKeys notificationServiceDatabasePassword orderServiceDatabasePassword " +
		"postgresAdminPassword redisPassword replicas.max replicas.min streamPassword userServiceDatabasePassword"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("faults at %s\nwant      %s", got, want)
	}
}

func TestADemoUserNeedsAPassword(t *testing.T) {
	without := allSecrets()[:len(allSecrets())-1]
	plain := map[string]string{"registry": "localhost:5000"}
	if _, err := stack.Parse("local", catalog.Services(), plain, without); err == nil {
		t.Error("the demo user's password is not required")
	}
	plain["demo"] = "false"
	if _, err := stack.Parse("local", catalog.Services(), plain, without); err != nil {
		t.Errorf("without a demo user its password is not needed: %v", err)
	}
}
