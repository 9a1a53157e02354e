package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
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
	names := append(kit.ServiceNames(), "postgres", "redis-cache", "redis-stream", "edge")
	pods := func() string {
		return kit.Output(t, "kubectl", "get", "pods", "--all-namespaces", "--field-selector=status.phase=Running",
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
		if _, err := kit.Run("pulumi", "config", "rm", "platform:greeterServiceDatabasePassword", "--stack", "local"); err != nil {
			t.Error(err)
		}
		if printed, err := kit.PulumiUp(kit.Root); err != nil {
			t.Errorf("removal: %v\n%s", err, printed)
		}
	}
	t.Cleanup(takeAway)

	clone := kit.CopySources(t)
	kit.Output(t, "cp", "-r", "test/e2e/testdata/greeter-service", clone+"/apps/")
	kit.Replace(t, clone, "infra/catalog/services.go", "\n\t}\n}\n", fifth+"\n\t}\n}\n")
	if printed, err := kit.PulumiUp(clone); err == nil || !strings.Contains(printed, "greeterServiceDatabasePassword: missing secret: run `make secrets STACK=local`") {
		t.Errorf("without its password, the update returns %v\n%s", err, printed)
	}
	kit.Output(t, "make", "-s", "-C", clone, "secrets", "STACK=local")
	if printed, err := kit.PulumiUp(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}

	type greeting struct {
		Times int    `json:"times"`
		Text  string `json:"text"`
	}
	greeted := rand.Text() // a unique name, because the database is kept after the removal
	const unknown = "0190f3a0-0000-7000-8000-000000000001"
	caller := kit.Gateway().SignUp(t)
	for times := 1; times <= 2; times++ {
		status, body := post(t, "/greetings/"+greeted, signedIdentity(t, caller.ID, "greeter-service", "user-service"))
		got, err := kit.ParseJSON[greeting](body)
		if want := (greeting{Times: times, Text: "Hello, " + caller.Name + "!"}); err != nil || status != http.StatusOK || got != want {
			t.Errorf("got %d %+v (%v), want %+v", status, got, err, want)
		}
	}
	// The greeter returns the problem of user-service.
	if status, body := post(t, "/greetings/"+greeted, signedIdentity(t, unknown, "greeter-service", "user-service")); status != http.StatusNotFound || !strings.Contains(body, "not_found") {
		t.Errorf("for a user who doesn't exist: got %d %s, want 404", status, body)
	}
	for name, identity := range map[string]string{"no identity": "", "one for another service": signedIdentity(t, caller.ID, "user-service")} {
		if status, body := post(t, "/greetings/"+greeted, identity); status != http.StatusUnauthorized {
			t.Errorf("%s: got %d %s, want 401", name, status, body)
		}
	}
	// Without the audience of user-service, the greeter can't call it.
	if status, body := post(t, "/greetings/"+greeted, signedIdentity(t, caller.ID, "greeter-service")); status != http.StatusUnauthorized {
		t.Errorf("an identity for the greeter alone: got %d %s, want 401", status, body)
	}
	for _, kind := range []string{"deployment", "horizontalpodautoscaler", "poddisruptionbudget", "serviceaccount"} {
		found := kit.Output(t, "kubectl", "get", kind, "--namespace=apps", "--output=name")
		if !strings.Contains(found, "/greeter-service") {
			t.Errorf("the service has no %s; found %s", kind, strings.Fields(found))
		}
	}
	if after := pods(); after != before {
		t.Errorf("its creation restarted other services: %s, were %s", after, before)
	}

	takeAway()
	kit.Eventually(t, time.Minute, "the service is removed", func() error {
		if left := kit.Output(t, "kubectl", "get", "all,configmap,secret,serviceaccount,networkpolicy", "--namespace=apps", "--output=name"); strings.Contains(left, "greeter-service") {
			return fmt.Errorf("%s still exists", left)
		}
		return nil
	})
	if after := pods(); after != before {
		t.Errorf("its removal restarted other services: %s, were %s", after, before)
	}
}

// signedIdentity returns the identity token of a user that the gateway would send to the services.
func signedIdentity(t *testing.T, user string, services ...string) string {
	t.Helper()
	kid, encoded, _ := strings.Cut(strings.SplitN(strings.TrimSpace(kit.Output(t, "pulumi", "config", "get", "platform:identityKeys", "--stack", "local")), ",", 2)[0], ":")
	seed, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || len(seed) != ed25519.SeedSize {
		t.Fatal("identityKeys has no seed")
	}
	part := func(value any) string {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	now := time.Now()
	signed := part(map[string]any{"alg": "EdDSA", "typ": "identity+jwt", "kid": kid}) + "." + part(map[string]any{
		"iss": "https://platform.example/api-gateway", "aud": services, "sub": user, "role": "user",
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(signed)))
}

// post sends a POST to the greeter-service through the API server's proxy, bypassing the edge and the gateway.
func post(t *testing.T, path, identity string) (status int, body string) {
	t.Helper()
	proxy := kit.Start(t, exec.Command("kubectl", "proxy", "--port=0"))
	defer func() { _ = proxy.Stop(syscall.SIGKILL, time.Minute) }()
	if err := proxy.WaitFor(time.Minute, "Starting to serve on "); err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(proxy.Printed(), "Starting to serve on ")
	at := kit.Client{
		Base: fmt.Sprintf("http://%s/api/v1/namespaces/apps/services/greeter-service:8080/proxy", strings.Fields(address)[0]),
		HTTP: http.DefaultClient,
	}
	if identity != "" {
		at = at.With("X-Identity", identity)
	}
	got, err := at.Call(http.MethodPost, path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.Status, string(got.Body)
}
