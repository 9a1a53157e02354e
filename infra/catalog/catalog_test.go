package catalog_test

import (
	"regexp"
	"testing"

	"platform.example/infra/catalog"
)

var (
	dnsLabel     = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$`) // leaves room for a suffix within 63 characters
	sqlName      = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
)

func TestServicesAreConsistent(t *testing.T) {
	services := catalog.Services()
	names := map[string]bool{}
	databases := map[string]string{}
	for _, service := range services {
		if !dnsLabel.MatchString(service.Name) {
			t.Errorf("%q is not a DNS-1123 label with room for a suffix", service.Name)
		}
		if names[service.Name] {
			t.Errorf("two services are called %s", service.Name)
		}
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
			if service.Database != "" && !sqlName.MatchString(service.Database) {
				t.Errorf("database %q needs quoting", service.Database)
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
			if service.SeedsDemo && service.Database == "" {
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
		"postgresAdminPassword", "redisPassword", "streamPassword", "jwtKeys", "demoUserPassword",
		"userServiceDatabasePassword", "orderServiceDatabasePassword", "notificationServiceDatabasePassword",
	} {
		if !seen[name] {
			t.Errorf("secret %s is missing", name)
		}
	}
	if len(catalog.Secrets(catalog.Services(), false)) != len(seen)-1 {
		t.Error("only the demo user's password depends on demo")
	}
}
