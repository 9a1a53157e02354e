package main

import (
	"path/filepath"
	"testing"

	"platform.example/infra/policy"
	"platform.example/infra/stack"
)

// Production with external stores.
func TestExternalStores(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Pulumi.production.yaml")
	writeFile(t, file, `config:
  platform:edge: {host: api.example.com, tlsSecret: api}
  platform:postgres: {address: "db.example.com:6432", network: 192.0.2.0/24, adminUser: root}
  platform:redis: {address: "192.0.2.8:6380"}
  platform:stream: {address: "192.0.2.9:6381"}
  platform:services: {notification-service: {webhookUrl: "https://hooks.example.com/x"}}
`)
	objects, err := render("..", string(stack.Production), file)
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range policy.Check(stack.Production, objects) {
		t.Error(finding)
	}
	seen := map[string]manifest{}
	for _, rendered := range objects {
		object := manifest(rendered)
		name, _ := object.at("metadata", "name").(string)
		kind, _ := object.at("kind").(string)
		seen[kind+" "+name] = object
		if (kind == "StatefulSet" || kind == "Deployment") && object.at("metadata", "namespace") == "data" {
			t.Errorf("%s %s is rendered, though the stores are external", kind, name)
		}
	}
	for service, variables := range map[string]map[string]string{
		"user-service":         {"POSTGRES_HOST": "db.example.com", "POSTGRES_PORT": "6432", "REDIS_ADDR": "192.0.2.8:6380", "REDIS_TLS": "true"},
		"notification-service": {"STREAM_ADDR": "192.0.2.9:6381", "WEBHOOK_URL": "https://hooks.example.com/x"},
	} {
		for variable, want := range variables {
			if got := seen["ConfigMap "+service+"-blue-0000"].at("data", variable); got != want {
				t.Errorf("%s: %s is %v, want %s", service, variable, got, want)
			}
		}
	}
	if user := seen["Secret notification-service-blue-0000"].at("stringData", "STREAM_USERNAME"); user != "" {
		t.Errorf("at a Redis elsewhere, notification-service signs in as %v, want the password alone", user)
	}
	for _, variable := range []string{"WEBHOOK_SECRET", "STREAM_PASSWORD"} {
		if seen["Secret notification-service-blue-0000"].at("stringData", variable) == nil {
			t.Errorf("notification-service has no %s", variable)
		}
	}
}

// stacks are the checked stacks with their files, empty for the default path.
var stacks = []struct {
	name, file  string
	environment stack.Environment
}{
	{"local", "", stack.Local}, {"staging", "", stack.Staging}, {"production", "", stack.Production},
	{"everything", filepath.Join("testdata", "Pulumi.everything.yaml"), stack.Production},
}

func TestStacksPassThePolicy(t *testing.T) {
	for _, checked := range stacks {
		t.Run(checked.name, func(t *testing.T) {
			objects := rendered(t, checked.name, checked.file)
			if len(objects) < 80 {
				t.Errorf("only %d objects are rendered", len(objects))
			}
			for _, finding := range policy.Check(checked.environment, objects) {
				t.Error(finding)
			}
		})
	}
}
