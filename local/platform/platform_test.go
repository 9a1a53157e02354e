package platform

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"platform.example/local/deploy"
	"platform.example/local/layout"
	"platform.example/local/progress"
	"platform.example/local/toolchain"
)

// deployed returns a platform on another cluster, in test folders, whose stack has the given outputs. pulumi is a script that
// records each call in <state>/calls.
func deployed(t *testing.T, outputs deploy.Outputs) (p *Platform, out *bytes.Buffer) {
	t.Helper()
	root := t.TempDir()
	l := layout.Layout{Repo: filepath.Join(root, "clone"), State: filepath.Join(root, "state"), Cache: filepath.Join(root, "cache")}
	for _, folder := range []string{l.Repo, l.Bin(), l.Pulumi()} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(outputs)
	if err != nil {
		t.Fatal(err)
	}
	outputsFile := filepath.Join(root, "outputs")
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >> '%s/calls'\ncat '%s'\n", l.State, outputsFile)
	for path, content := range map[string]string{outputsFile: string(text), filepath.Join(l.Bin(), "pulumi"): script} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	out = &bytes.Buffer{}
	options := Options{Context: "theirs", Registry: "registry.example/platform"}
	log := progress.New(io.Discard)
	return &Platform{layout: l, options: options, log: log, stack: deploy.New(l, log), out: out}, out
}

func (p *Platform) welcomed(t *testing.T) {
	t.Helper()
	if err := p.welcome(t.Context(), p.target(nil)); err != nil {
		t.Fatal(err)
	}
}

// edge returns a TLS server that signs in the demo user, and its authority as PEM.
func edge(t *testing.T) (url, authority string) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var user struct{ Email, Password string }
		if err := json.NewDecoder(r.Body).Decode(&user); err != nil || r.URL.Path != "/api/auth/token" ||
			user.Email != "demo@example.com" || user.Password != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"detail":"wrong e-mail or password"}`)
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"the token"}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the tests include clients that don't trust it
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestTokenTrustsTheStacksOwnAuthority(t *testing.T) {
	url, authority := edge(t)
	p, out := deployed(t, deploy.Outputs{URL: url, Authority: authority, DemoEmail: "demo@example.com", DemoPassword: "right"})
	if err := p.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "the token\n" {
		t.Errorf("Token prints %q", out)
	}
	calls, err := os.ReadFile(filepath.Join(p.layout.State, "calls"))
	if want := "stack output --json --show-secrets --stack local --non-interactive\n"; err != nil || string(calls) != want {
		t.Errorf("pulumi was called %q, %v, want once: %q", calls, err, want)
	}
}

func TestTokenReportsTheReasonOfARefusal(t *testing.T) {
	url, authority := edge(t)
	for _, c := range []struct {
		name    string
		outputs deploy.Outputs
		want    string
	}{
		{"another password", deploy.Outputs{URL: url, Authority: authority, DemoEmail: "demo@example.com", DemoPassword: "wrong"},
			"sign in: " + url + "/api/auth/token returns 401 Unauthorized wrong e-mail or password"},
		{"an unknown authority", deploy.Outputs{URL: url, DemoEmail: "demo@example.com", DemoPassword: "right"},
			"certificate signed by unknown authority"},
		{"no deployment", deploy.Outputs{}, "there is no url: run make up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, out := deployed(t, c.outputs)
			if err := p.Token(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
				t.Errorf("%v, want %q; it prints %q", err, c.want, out)
			}
		})
	}
}

func TestWelcomeNamesTheAuthority(t *testing.T) {
	p, out := deployed(t, deploy.Outputs{URL: "https://localhost:30443", Authority: "-----PEM-----\n"})
	p.welcomed(t)
	for _, want := range []string{
		`curl --cacert bin/ca.pem -i -H "Authorization: Bearer $TOKEN" https://localhost:30443/api/users/me`,
		"make -s token CONTEXT=theirs",
		"https://localhost:30443/docs",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out.String(), "%!") || strings.Count(out.String(), "curl ") != strings.Count(out.String(), "curl --cacert bin/ca.pem ") {
		t.Errorf("the output is %s", out)
	}
	if content, err := os.ReadFile(filepath.Join(p.layout.Repo, "bin", "ca.pem")); err != nil || string(content) != "-----PEM-----\n" {
		t.Errorf("bin/ca.pem contains %q, %v", content, err)
	}
}

func TestWelcomeOmitsAPublicAuthority(t *testing.T) {
	p, out := deployed(t, deploy.Outputs{URL: "https://api.example.com"})
	former := filepath.Join(p.layout.Repo, "bin", "ca.pem")
	if err := errors.Join(os.MkdirAll(filepath.Dir(former), 0o755), os.WriteFile(former, []byte("former"), 0o644)); err != nil {
		t.Fatal(err)
	}
	p.welcomed(t)
	if strings.Contains(out.String(), "cacert") || !strings.Contains(out.String(), `curl -i -H "Authorization: Bearer $TOKEN" https://api.example.com/api/users/me`) {
		t.Errorf("the output is %s", out)
	}
	if _, err := os.Stat(former); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the obsolete authority still exists: %v", err)
	}
}

func TestDownRemovesTheAuthority(t *testing.T) {
	p, _ := deployed(t, deploy.Outputs{URL: "https://localhost:30443", Authority: "-----PEM-----\n"})
	p.welcomed(t)
	if err := os.RemoveAll(p.layout.Pulumi()); err != nil { // as without a deployment
		t.Fatal(err)
	}
	if err := p.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{filepath.Join(p.layout.Repo, "bin", "ca.pem"), p.layout.State} {
		if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s still exists: %v", gone, err)
		}
	}
}

func TestUnknownToolIsAnError(t *testing.T) {
	p, out := deployed(t, deploy.Outputs{})
	if err := p.Tools(t.Context(), "kubectl"); !errors.Is(err, toolchain.ErrUnknown) || out.Len() > 0 {
		t.Errorf("%v; Tools prints %q", err, out)
	}
}

// The lock of the node belongs to root, too: without this, its error would be the refusal.
func TestOnlyRootChangesTheNode(t *testing.T) {
	if os.Geteuid() == 0 {
		if err := syscall.Seteuid(65534); err != nil {
			t.Skipf("this machine doesn't let root switch to another user: %v", err)
		}
		defer func() {
			if err := syscall.Seteuid(0); err != nil {
				panic(err)
			}
		}()
	}
	p := &Platform{layout: layout.Layout{State: "/nonexistent", Repo: "/nonexistent"}, log: progress.New(io.Discard)}
	for verb, do := range map[string]func() error{
		"stop": func() error { return p.Stop(t.Context()) }, "down": func() error { return p.Down(t.Context()) },
		"node-kill": func() error { return p.Node(t.Context(), "node-kill", "2") },
	} {
		if err := do(); err == nil || err.Error() != "not root: run it with sudo make "+verb {
			t.Errorf("%s: %v", verb, err)
		}
	}
}
