package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"k8s.io/apimachinery/pkg/util/validation"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/image"
	"platform.example/infra/profile"
	"platform.example/infra/quantity"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// full is a service with all features.
func full(name string) catalog.Service {
	return catalog.Service{
		Name: name, Database: strings.ReplaceAll(name, "-", "_"), KeepsUsers: true,
		Cache:      &catalog.Access{Keys: []string{name + ":*"}, Commands: []string{"get"}},
		Stream:     &catalog.Access{Keys: []string{name + ":*"}, Commands: []string{"xadd"}},
		Resources:  catalog.Resources{CPURequest: 100, CPULimit: 1000, Memory: 128 * quantity.MiB},
		Objectives: catalog.Objectives{Availability: 0.99, Latency: time.Second, LatencyShare: 0.99, Breach: catalog.Ticket},
	}
}

// objectsOf returns all objects of the stack local with these services and their recorded state.
func objectsOf(t *testing.T, services []catalog.Service, recorded map[string]release.Recorded) []object {
	t.Helper()
	known := catalog.Secrets(services, true)
	var names []string
	for _, secret := range known {
		names = append(names, secret.Name)
	}
	config, err := stack.Parse("local", services, map[string]string{"registry": "localhost:5000", "postgres.memory": "16Gi"}, names)
	if err != nil {
		t.Fatal(err)
	}
	facing, err := profile.New(config, profile.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]image.Image{}
	for _, service := range services {
		images[service.Name] = image.Unknown(config.Registry, service.Name)
	}
	p := platform{services: services, config: config, profile: facing, secrets: secret.Unknown(known), rollout: cluster.Within(config.Deadline)}
	if p.plans, err = p.plan(t.Context(), recorded, images, time.Now()); err != nil {
		t.Fatal(err)
	}
	if p.certificates, err = p.newCertificates(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	recorder := &recorder{}
	if err := pulumi.RunErr(p.build, pulumi.WithMocks("platform", "local", recorder)); err != nil {
		t.Fatal(err)
	}
	return recorder.sorted()
}

// invalid returns the invalid names and labels of an object.
func invalid(rendered object) (faults []string) {
	m := manifest(rendered)
	kind, _ := m.at("kind").(string)
	name, _ := m.at("metadata", "name").(string)
	if generated, is := strings.CutSuffix(name, "-0000"); is {
		name = generated + "-0123abcd" // as Pulumi adds
	}
	check := validation.IsDNS1123Subdomain
	switch kind {
	case "Service":
		check = validation.IsDNS1035Label
	case "Job": // becomes a label of its pods
		check = validation.IsDNS1123Label
	}
	faults = check(name)
	var walk func(value any, path string)
	walk = func(value any, path string) {
		switch value := value.(type) {
		case map[string]any:
			for key, field := range value {
				walk(field, path+"."+key)
			}
		case []any:
			for _, element := range value {
				walk(element, path)
			}
		case string:
			switch {
			case strings.Contains(path, "abels."), strings.Contains(path, ".selector."):
				faults = append(faults, validation.IsValidLabelValue(value)...)
			case strings.HasSuffix(path, "ontainers.name"), strings.HasSuffix(path, ".volumes.name"):
				faults = append(faults, validation.IsDNS1123Label(value)...)
			}
		}
	}
	walk(rendered, "")
	return faults
}

func TestAcceptedNamesCanBeReleasedTwice(t *testing.T) {
	longest := strings.Repeat("a", 28)
	names := []string{"a", "x1", "a1-2b", longest, "a" + strings.Repeat("-b", 13) + "c", "abcdefghijklmno-pqrst-uvwxyz", "evergreen", "blue-chip"}
	var services []catalog.Service
	for _, name := range names {
		services = append(services, full(name))
	}
	services[0].Public = true
	recorded := map[string]release.Recorded{}
	for _, service := range services {
		recorded[service.Name] = release.Recorded{
			Selected: release.Blue, Revision: "1",
			Mark: release.Mark{Live: release.Blue, Version: strings.Repeat("f", 12), At: time.Now()},
			Colours: map[release.Colour]release.Running{release.Blue: {
				Version: strings.Repeat("f", 12), Image: "localhost:5000/x@sha256:" + strings.Repeat("f", 64), Made: time.Now().Format(time.RFC3339Nano), Replicas: 1,
			}},
		}
	}
	for releases, before := range []map[string]release.Recorded{nil, recorded} {
		verified := 0
		for _, rendered := range objectsOf(t, services, before) {
			name, _ := manifest(rendered).at("metadata", "name").(string)
			if strings.Contains(name, "-green-verify-") {
				verified++
			}
			for _, fault := range invalid(rendered) {
				t.Errorf("release %d: %s %s: %s", releases+1, manifest(rendered).at("kind"), name, fault)
			}
		}
		if verified != releases*len(services) {
			t.Errorf("release %d: %d services are verified", releases+1, verified)
		}
	}
	for _, service := range services {
		if len(service.Role()+"_01234567") > 63 || !strings.HasPrefix(service.DatabasePassword(), strings.Split(service.Name, "-")[0]) {
			t.Errorf("%s signs in as %s with %s", service.Name, service.Role(), service.DatabasePassword())
		}
	}
}

// With one more letter, the API server would refuse a Job of the second release.
func TestLongestServiceNameIsTheLongestPossible(t *testing.T) {
	job := object{"kind": "Job", "metadata": object{
		"name": release.Green.Name(strings.Repeat("a", 29)) + "-verify-" + strings.Repeat("0", 12) + "-" + "mbxk3v7q",
	}}
	if len(invalid(job)) == 0 {
		t.Error("a name of 29 letters would do")
	}
}

func TestImpossibleServiceNameIsRefused(t *testing.T) {
	for name, want := range map[string]string{
		"notifications-for-everybody-here-x": `service "notifications-for-everybody-here-x": has 34 characters: want at most 28: the Job that verifies`,
		"user--service":                      `service "user--service": want words of lower-case letters and digits, separated by single hyphens`,
		"-user":                              `service "-user": want words`,
		"user-":                              `service "user-": want words`,
		"1user":                              `service "1user": want words`,
		"user_service":                       `service "user_service": want words`,
		"User":                               `service "User": want words`,
		"":                                   `service "": want words`,
		"user-blue":                          `service "user-blue": want a name without the word blue`,
		"userservice1":                       "",
		"user-service-1":                     "",
	} {
		_, err := stack.Parse("local", []catalog.Service{{Name: name}}, map[string]string{"registry": "localhost:5000"}, nil)
		if want != "" && (err == nil || !strings.HasPrefix(err.Error(), "stack local: "+want)) {
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
		if want == "" && err != nil && strings.Contains(err.Error(), "service \"") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := catalog.Check([]catalog.Service{{Name: "a-1"}, {Name: "a1"}}); err == nil || !strings.Contains(err.Error(), "the same names as those of a-1") {
		t.Errorf("a-1 and a1: %v", err)
	}
	if err := catalog.Check([]catalog.Service{{Name: "a"}, {Name: "a"}}); err == nil || !strings.Contains(err.Error(), "two services have this name") {
		t.Errorf("a and a: %v", err)
	}
	if err := catalog.Check([]catalog.Service{{Name: "a", Database: "a-b"}}); err == nil || !strings.Contains(err.Error(), `database "a-b"`) {
		t.Errorf("database a-b: %v", err)
	}
}

// The API server accepts objects of up to 1 MiB.
func TestFortyServicesFitTheAPIServer(t *testing.T) {
	const most = 1 << 20
	services := catalog.Services()
	for len(services) < 40 {
		services = append(services, full(fmt.Sprintf("service-number-%02d-of-forty", len(services))))
	}
	boards, sum := 0, 0
	for _, rendered := range objectsOf(t, services, nil) {
		text, err := json.Marshal(rendered)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := manifest(rendered).at("metadata", "name").(string)
		if len(text) > most*9/10 {
			t.Errorf("%s %s has %d bytes", rendered["kind"], name, len(text))
		}
		if rendered["kind"] == "ConfigMap" && strings.HasPrefix(name, "grafana-service-") {
			boards, sum = boards+1, sum+len(text)
		}
		if rendered["kind"] == "Deployment" && name == "grafana" {
			sources, _ := manifest(rendered).at("spec", "template", "spec", "volumes", 0, "projected", "sources").([]any)
			if len(sources) < len(services) || !slices.ContainsFunc(sources, func(source any) bool {
				return strings.HasPrefix(fmt.Sprint(source), "map[configMap:map[name:grafana-service-service-number-39-of-forty")
			}) {
				t.Errorf("Grafana reads %d objects: %v", len(sources), sources)
			}
		}
	}
	if boards != len(services) || sum < most {
		t.Errorf("%d dashboards of services have %d bytes: want one for each of %d services, and more in all than one object holds", boards, sum, len(services))
	}
}
