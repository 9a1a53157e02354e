package smoke

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestEdgeSpeaksModernTLSWithAValidCertificate(t *testing.T) {
	at := kit.EdgeAddress()
	greet := func(config *tls.Config) (tls.ConnectionState, error) {
		conn, err := tls.Dial("tcp", at, config)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.ConnectionState(), nil
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if _, err := greet(&tls.Config{RootCAs: kit.Authority(), ServerName: name}); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if _, err := greet(&tls.Config{RootCAs: kit.Authority(), ServerName: "elsewhere.example"}); err == nil {
		t.Error("its certificate is valid for any name")
	}
	if _, err := greet(&tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}); err == nil {
		t.Error("it verifies without its authority")
	}
	if _, err := greet(&tls.Config{RootCAs: kit.Authority(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("it accepts TLS 1.1")
	}
	if state, err := greet(&tls.Config{RootCAs: kit.Authority(), MaxVersion: tls.VersionTLS12}); err != nil || state.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v", err)
	}
	for _, suite := range append(tls.InsecureCipherSuites(), tls.CipherSuites()...) {
		_, err := greet(&tls.Config{RootCAs: kit.Authority(), MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID}})
		if err == nil && !strings.Contains(suite.Name, "_GCM_") && !strings.Contains(suite.Name, "_POLY1305_") {
			t.Errorf("TLS 1.2 with %s", suite.Name)
		}
	}
	if state, err := greet(&tls.Config{RootCAs: kit.Authority(), NextProtos: []string{"h2", "http/1.1"}}); err != nil ||
		state.NegotiatedProtocol != "h2" || state.Version != tls.VersionTLS13 {
		t.Errorf("a modern client gets %q over %s (%v), want h2 over TLS 1.3",
			state.NegotiatedProtocol, tls.VersionName(state.Version), err)
	}
}

func TestHTTPRedirectsToHTTPS(t *testing.T) {
	port := strings.TrimSpace(kit.Output(t, "kubectl", "get", "service", "edge", "--namespace=edge", "--output=jsonpath={.spec.ports[?(@.name=='http')].nodePort}"))
	plain := kit.Client{Base: "http://localhost:" + port, HTTP: &http.Client{
		Timeout: 15 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	const path = "/api/orders?limit=3"
	for method, status := range map[string]int{
		http.MethodGet:  http.StatusMovedPermanently,
		http.MethodPost: http.StatusPermanentRedirect, // keeps the method, and the body
	} {
		sent := plain.MustCall(t, status, method, path, "", nil)
		if to, want := sent.Header.Get("Location"), kit.Gateway().Base+path; to != want {
			t.Errorf("%s is redirected to %s, want %s", method, to, want)
		}
	}
	request, err := http.NewRequest(http.MethodGet, plain.Base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "[2001:db8::1]:" + port
	response, err := plain.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	base, _ := url.Parse(kit.Gateway().Base)
	if to, want := response.Header.Get("Location"), "https://[2001:db8::1]:"+base.Port()+path; to != want {
		t.Errorf("an IPv6 host is redirected to %s, want %s", to, want)
	}
}

func TestEveryResponseHasSecurityHeaders(t *testing.T) {
	for path, status := range map[string]int{"/health": 200, "/api/users/me": 401, "/nothing": 404} {
		response := kit.Gateway().MustCall(t, status, http.MethodGet, path, "", nil)
		for header, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Permissions-Policy": "camera=(), geolocation=(), microphone=()",
		} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", path, header, got, want)
			}
		}
	}
}

func TestEdgesOwnPagesAreNotPublic(t *testing.T) {
	for _, path := range []string{"/dashboard/", "/api/rawdata", "/api/overview", "/ping", "/metrics", "/debug/pprof/"} {
		response := kit.Gateway().MustCall(t, http.StatusNotFound, http.MethodGet, path, "", nil)
		if _, err := response.Problem(); err != nil {
			t.Errorf("the gateway doesn't respond to %s: %v", path, err)
		}
	}
}

func TestLargeRequestsAreRefused(t *testing.T) {
	api := kit.Gateway()
	for _, size := range []int{2 << 20, 100 << 10} { // above the edge's limit; above the gateway's limit
		request, err := http.NewRequest(http.MethodPost, api.Base+"/api/auth/token", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Expect", "100-continue") // wait for the server before sending the body
		response, err := api.HTTP.Do(request)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of %d bytes returns %s", size, response.Status)
		}
	}
	if _, err := api.With("X-Large", strings.Repeat("x", 2<<20)).Expect(http.MethodGet, "/health", "", nil, http.StatusOK); err == nil {
		t.Error("a header of 2 MiB is accepted")
	}
	api.MustCall(t, http.StatusOK, http.MethodGet, "/health", "", nil)
}

func TestAccessLogNamesTheClientAndNoSecret(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	path := rand.Text()
	const spoofed = "203.0.113.77"
	api.With("X-Forwarded-For", spoofed).With("X-Real-Ip", spoofed).
		MustCall(t, http.StatusNotFound, http.MethodGet, "/"+path, token, nil)
	type access struct {
		ClientHost       string
		RequestPath      string
		DownstreamStatus int
		TLSVersion       string
	}
	kit.Eventually(t, time.Minute, "the access log has the request", func() error {
		log, err := kit.Run("kubectl", "logs", "--namespace=edge", "--selector=app.kubernetes.io/name=edge", "--tail=-1", "--since=2m")
		if err != nil {
			return err
		}
		if strings.Contains(log, token) {
			t.Fatal("the access log contains the client's token")
		}
		for line := range strings.Lines(log) {
			if !strings.Contains(line, path) {
				continue
			}
			got, err := kit.ParseJSON[access](line)
			if err != nil {
				t.Fatal(err)
			}
			// All connections to this machine's own ports come from the node, from the pods' view; localhost is IPv4.
			addresses := kit.NodeAddresses(t)
			if want := (access{addresses[len(addresses)-1].String(), "/" + path, http.StatusNotFound, "1.3"}); got != want {
				t.Errorf("the access log contains %+v, want %+v", got, want)
			}
			return nil
		}
		return fmt.Errorf("no line for /%s", path)
	})
	for _, line := range strings.Split(kit.Output(t, "kubectl", "logs", "--namespace=apps", "--selector=app.kubernetes.io/name=api-gateway", "--since=2m", "--tail=-1"), "\n") {
		if strings.Contains(line, spoofed) {
			t.Errorf("the gateway trusts the address that the client claims: %s", line)
		}
	}
}
