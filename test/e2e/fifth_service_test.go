package e2e

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// fifth is the value that is added to the catalog; the service itself is testdata/greeter-service.
const fifth = `
		{
			Name:       "greeter-service",
			Calls:      []string{"user-service"},
			Database:   "greetings",
			Resources:  Resources{CPURequest: 10, CPULimit: 200, Memory: 64 * quantity.MiB},
			Objectives: Objectives{Availability: 0.99, Latency: time.Second, LatencyShare: 0.99, Breach: Ticket},
		},`

func TestFifthServiceNeedsOneFolderAndOneCatalogEntry(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	names := append(serviceNames(), "postgres", "redis-cache", "redis-stream", "edge")
	pods := func() string {
		return output(t, "kubectl", "get", "pods", "--all-namespaces", "--field-selector=status.phase=Running",
			"--selector=app.kubernetes.io/name in ("+strings.Join(names, ",")+")",
			"--output=jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}")
	}
	before := pods()
	deployed := true
	takeAway := func() {
		if !deployed {
			return
		}
		deployed = false
		if _, err := attempt("pulumi", "config", "rm", "platform:greeterServiceDatabasePassword", "--stack", "local"); err != nil {
			t.Error(err)
		}
		if printed, err := upFrom(root); err != nil {
			t.Errorf("removal: %v\n%s", err, printed)
		}
	}
	t.Cleanup(takeAway)

	clone := copyOfTheClone(t)
	output(t, "cp", "-r", "test/e2e/testdata/greeter-service", clone+"/apps/")
	change(t, clone, "infra/catalog/services.go", "\n\t}\n}\n", fifth+"\n\t}\n}\n")
	if printed, err := upFrom(clone); err == nil || !strings.Contains(printed, "greeterServiceDatabasePassword: missing secret: run `make secrets STACK=local`") {
		t.Errorf("without its password, the update returns %v\n%s", err, printed)
	}
	output(t, "make", "-s", "-C", clone, "secrets", "STACK=local")
	if printed, err := upFrom(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}

	type greeting struct {
		Times int    `json:"times"`
		Text  string `json:"text"`
	}
	greeted := rand.Text() // a unique name, because the database is kept after the removal
	const at, unknown = "greeter-service:8080", "0190f3a0-0000-7000-8000-000000000001"
	caller := gateway().signUp(t)
	for times := 1; times <= 2; times++ {
		status, body := direct(t, http.MethodPost, at, "/greetings/"+greeted, signedIdentity(t, caller.ID, "greeter-service", "user-service"))
		got, err := parse[greeting](body)
		if want := (greeting{Times: times, Text: "Hello, " + caller.Name + "!"}); err != nil || status != http.StatusOK || got != want {
			t.Errorf("it answers %d %+v (%v), want %+v", status, got, err, want)
		}
	}
	// The greeter returns the problem of user-service.
	if status, body := direct(t, http.MethodPost, at, "/greetings/"+greeted, signedIdentity(t, unknown, "greeter-service", "user-service")); status != http.StatusNotFound || !strings.Contains(body, "not_found") {
		t.Errorf("to a user who doesn't exist, it answers %d %s, want 404", status, body)
	}
	for name, identity := range map[string]string{"no identity": "", "one for another service": signedIdentity(t, caller.ID, "user-service")} {
		if status, body := direct(t, http.MethodPost, at, "/greetings/"+greeted, identity); status != http.StatusUnauthorized {
			t.Errorf("%s: it answers %d %s, want 401", name, status, body)
		}
	}
	for _, kind := range []string{"deployment", "horizontalpodautoscaler", "poddisruptionbudget", "serviceaccount"} {
		found := output(t, "kubectl", "get", kind, "--namespace=apps", "--output=name")
		if !strings.Contains(found, "/greeter-service") {
			t.Errorf("the service has no %s; found %s", kind, strings.Fields(found))
		}
	}
	if after := pods(); after != before {
		t.Errorf("its creation restarted other services: %s, were %s", after, before)
	}

	takeAway()
	eventually(t, time.Minute, "the service is removed", func() error {
		if left := output(t, "kubectl", "get", "all,configmap,secret,serviceaccount,networkpolicy", "--namespace=apps", "--output=name"); strings.Contains(left, "greeter-service") {
			return fmt.Errorf("%s still exists", left)
		}
		return nil
	})
	if after := pods(); after != before {
		t.Errorf("its removal restarted other services: %s, were %s", after, before)
	}
}
