package e2e

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// signedIdentity returns the identity token of a user that the gateway would send to a service.
func signedIdentity(t *testing.T, user string, services ...string) string {
	t.Helper()
	kid, encoded, _ := strings.Cut(strings.SplitN(strings.TrimSpace(output(t, "pulumi", "config", "get", "platform:identityKeys", "--stack", "local")), ",", 2)[0], ":")
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

// direct sends a request to a port of a Service in namespace apps through the API server's proxy, bypassing the edge and the gateway.
func direct(t *testing.T, method, service, path, identity string) (status int, body string) {
	t.Helper()
	proxy := exec.Command("kubectl", "proxy", "--port=0")
	out, err := proxy.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Process.Kill(); _ = proxy.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at := client{
		base: fmt.Sprintf("http://%s/api/v1/namespaces/apps/services/%s/proxy", strings.TrimSpace(strings.TrimPrefix(line, "Starting to serve on ")), service),
		http: http.DefaultClient,
	}
	if identity != "" {
		at = at.with("X-Identity", identity)
	}
	got, err := at.call(method, path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	return got.status, string(got.body)
}
