package catalog_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"platform.example/infra/catalog"
)

// buckets are the bounds of the services' histograms in seconds.
func buckets(t *testing.T) []float64 {
	t.Helper()
	source, err := os.ReadFile("../../apps/internal/telemetry/middleware.go")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`var durationBuckets = \[\]float64\{([^}]+)\}`).FindSubmatch(source)
	if list == nil {
		t.Fatal("the services have no durationBuckets")
	}
	var bounds []float64
	for text := range strings.SplitSeq(string(list[1]), ",") {
		bound, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			t.Fatal(err)
		}
		bounds = append(bounds, bound)
	}
	return bounds
}

// With another latency, no request would count as slow for the objective, and each one for a release.
func TestLatencyObjectivesAreBoundsOfBuckets(t *testing.T) {
	bounds := buckets(t)
	for _, service := range catalog.Services() {
		if latency := service.Objectives.Latency.Seconds(); !slices.Contains(bounds, latency) {
			t.Errorf("%s: a latency objective of %gs: want one of the buckets %v", service.Name, latency, bounds)
		}
	}
}

// A renamed route would count for the objectives again.
func TestInternalRoutesExist(t *testing.T) {
	for _, service := range catalog.Services() {
		source, err := os.ReadFile(filepath.Join("../../apps", service.Name, "internal/api/api.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, route := range service.Internal {
			if !strings.Contains(string(source), `"`+route+`"`) {
				t.Errorf("%s has no route %s", service.Name, route)
			}
		}
	}
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

func TestServicesAreConsistent(t *testing.T) {
	services := catalog.Services()
	if err := catalog.Check(services); err != nil {
		t.Error(err)
	}
	names := map[string]bool{}
	databases := map[string]string{}
	for _, service := range services {
		names[service.Name] = true

		if owner, taken := databases[service.Database]; taken && service.Database != "" {
			t.Errorf("%s and %s share the database %s", owner, service.Name, service.Database)
		}
		databases[service.Database] = service.Name
	}
	for _, service := range services {
		t.Run(service.Name, func(t *testing.T) {
			for _, called := range service.Calls {
				if !names[called] || called == service.Name {
					t.Errorf("calls %q, which is no other service", called)
				}
			}
			for _, secret := range service.Secrets {
				if secret.Kind == "" || !variableName.MatchString(secret.Variable) {
					t.Errorf("secret %+v lacks a kind or the variable that hands it over", secret)
				}
			}
			resources := service.Resources
			if resources.CPURequest <= 0 || resources.CPULimit < resources.CPURequest || resources.Memory <= 0 {
				t.Errorf("resources %+v: want 0 < CPU request <= CPU limit and some memory", resources)
			}
			for _, access := range []*catalog.Access{service.Cache, service.Stream} {
				if access != nil && (len(access.Keys) == 0 || slices.Contains(access.Keys, "*") || slices.Contains(access.Commands, "@all")) {
					t.Errorf("access %+v: want the keys and commands that it needs, not all", *access)
				}
			}
			promised := service.Objectives
			if promised.Availability <= 0.9 || promised.Availability >= 1 || promised.Latency <= 0 ||
				promised.LatencyShare <= 0.9 || promised.LatencyShare >= 1 || promised.Breach == "" {
				t.Errorf("objectives %+v are empty or impossible", promised)
			}
			if service.KeepsUsers && service.Database == "" {
				t.Error("seeds a demo user but has no database")
			}
		})
	}
}

func TestNamesDerivedFromAService(t *testing.T) {
	service := catalog.Service{Name: "user-service"}
	for got, want := range map[string]string{
		service.Role():             "user_service",
		service.URLVariable():      "USER_SERVICE_URL",
		service.DatabasePassword(): "userServiceDatabasePassword",
		service.CachePassword():    "userServiceCachePassword",
		service.StreamPassword():   "userServiceStreamPassword",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSecretsAreOnePerUse(t *testing.T) {
	seen := map[string]bool{}
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		if seen[secret.Name] {
			t.Errorf("secret %s is listed twice", secret.Name)
		}
		seen[secret.Name] = true
	}
	for _, name := range []string{
		"certificateAuthority", "postgresAdminPassword", "redisPassword",
		"streamPassword", "jwtKeys", "webhookSecret", "demoUserPassword", "objectStoreKey",
		"userServiceDatabasePassword", "orderServiceDatabasePassword", "notificationServiceDatabasePassword",
		"apiGatewayCachePassword", "userServiceCachePassword", "orderServiceStreamPassword", "notificationServiceStreamPassword",
	} {
		if !seen[name] {
			t.Errorf("secret %s is missing", name)
		}
	}
	elsewhere := catalog.Secrets(catalog.Services(), false)
	if len(elsewhere) != len(seen)-2 {
		t.Errorf("%d secrets elsewhere than locally, where the demo user and the object store add two to make %d", len(elsewhere), len(seen))
	}
}

func TestCallers(t *testing.T) {
	services := catalog.Services()
	for _, service := range services {
		for _, called := range service.Calls {
			if !slices.Contains(catalog.Callers(services, called), service.Name) {
				t.Errorf("%s calls %s, whose callers are %v", service.Name, called, catalog.Callers(services, called))
			}
		}
	}
	if callers := catalog.Callers(services, "api-gateway"); len(callers) != 0 {
		t.Errorf("%v call the gateway", callers)
	}
}

func TestIdentitiesAreForTheServicesThatACalledServiceCalls(t *testing.T) {
	gateway := catalog.Service{Name: "gateway", Calls: []string{"a", "b"}}
	services := []catalog.Service{gateway, {Name: "a", Calls: []string{"b", "c"}}, {Name: "b"}, {Name: "c", Calls: []string{"b"}}}
	if got := catalog.Audiences(services, gateway); got != "a:b,a:c" {
		t.Errorf("got %q", got)
	}
	if got := catalog.Audiences(services, services[1]); got != "c:b" {
		t.Errorf("got %q", got)
	}
	if got := catalog.Audiences(catalog.Services(), catalog.Services()[0]); got != "" {
		t.Errorf("the platform's services call no other service, but %q", got)
	}
}

func TestSettingsOfServices(t *testing.T) {
	settings := map[string]catalog.Setting{}
	for _, service := range catalog.Services() {
		for _, setting := range service.Settings {
			settings[setting.Key] = setting
			if !variableName.MatchString(setting.Variable) || setting.Want == "" || setting.Read == nil {
				t.Errorf("%s: setting %q lacks a variable, what is wanted, or how to read it", service.Name, setting.Key)
			}
		}
	}
	tests := []struct {
		key, value string
		right      bool
	}{
		{"requestsPerMinute", "1", true}, {"requestsPerMinute", "0", false}, {"requestsPerMinute", "many", false},
		{"corsOrigins", "https://app.example.com, http://localhost:3000", true},
		{"corsOrigins", "*", false}, {"corsOrigins", "https://*.example.com", false}, {"corsOrigins", "", false},
		{"webhookUrl", "https://hooks.example.com/a?b=c", true}, {"webhookUrl", "http://hooks.example.com", false},
		{"webhookUrl", "https://user:secret@hooks.example.com", false}, {"webhookUrl", "https://", false},
		{"oidcIssuer", "https://accounts.example.com/realm", true}, {"oidcIssuer", "http://accounts.example.com", false},
		{"oidcClientId", "123-abc.apps.example.com", true},
	}
	for _, test := range tests {
		if _, err := settings[test.key].Read(test.value); (err == nil) != test.right {
			t.Errorf("%s = %q: %v", test.key, test.value, err)
		}
	}
	for given, want := range map[string]string{
		"https://App.Example.com:443, HTTP://localhost:80/": "https://app.example.com,http://localhost",
		"http://app.example.com:443":                        "http://app.example.com:443",
		"https://app.example.com:08443":                     "https://app.example.com:8443",
		"https://[2001:DB8:0::1]:443":                       "https://[2001:db8::1]",
		"https://app.example.com/login":                     "",
		"https://app.example.com?a":                         "",
		"https://app.example.com#a":                         "",
		"https://a@app.example.com":                         "",
		"https://app.example.com:0":                         "",
		"https://app.example.com:70000":                     "",
		"https://bücher.example":                            "",
		"https://a_b.example":                               "",
		"https://":                                          "",
		"null":                                              "",
		"app.example.com":                                   "",
		"ftp://app.example.com":                             "",
		"https://a.example,,https://b.example":              "",
	} {
		if got, err := settings["corsOrigins"].Read(given); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q (%v), want %q", given, got, err, want)
		}
	}
}

// Compares with the ACL file of each service's own tests.
func TestAccessMatchesTheServicesTests(t *testing.T) {
	for _, service := range catalog.Services() {
		for name, access := range map[string]*catalog.Access{"cache": service.Cache, "stream": service.Stream} {
			file := filepath.Join("..", "..", "apps", service.Name, "testdata", name+".acl")
			content, err := os.ReadFile(file)
			if access == nil {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is for nothing (%v)", file, err)
				}
				continue
			}
			if err != nil {
				t.Error(err)
				continue
			}
			if granted, tested := access.Rules(), strings.Join(strings.Fields(string(content)), " "); granted != tested {
				t.Errorf("%s is granted  %v\n%s has %v", service.Name, granted, file, tested)
			}
		}
	}
}
