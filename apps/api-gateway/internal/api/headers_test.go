package api

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"platform.example/apps/api-gateway/internal/clientaddr"
	"platform.example/apps/internal/problem"
)

func TestParseOrigins(t *testing.T) {
	for raw, right := range map[string]bool{
		"https://shop.example, http://localhost:5173": true, "https://[2001:db8::1]:8443": true, "http://shop.example:443": true,
		"*": false, "https://*.example": false, "null": false, "https://": false, "shop.example": false, "ftp://shop.example": false,
		"https://Shop.example": false, "HTTPS://shop.example": false, "https://shop.example:443": false, "http://shop.example:80": false,
		"https://shop.example:": false, "https://shop.example/": false, "https://shop.example?a": false, "https://a@shop.example": false,
	} {
		if origins, err := ParseOrigins(raw); (err == nil) != right {
			t.Errorf("%q: %q, %v", raw, origins, err)
		}
	}
	if _, err := ParseOrigins("https://shop.example,https://user:hunter2@shop.example"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "position 2:") {
		t.Errorf("the error quotes the value, or names no origin: %v", err)
	}
}

// An accepted origin is one that a browser can send, and never a pattern.
func FuzzParseOrigins(f *testing.F) {
	f.Add("https://shop.example, http://localhost:5173")
	f.Add("*")
	f.Add("https://a.example/")
	f.Fuzz(func(t *testing.T, raw string) {
		origins, err := ParseOrigins(raw)
		if err != nil {
			return
		}
		for _, origin := range origins {
			u, err := url.Parse(origin)
			if err != nil || u.Host == "" || strings.ContainsAny(origin, "* ") || u.Path != "" || u.User != nil || u.RawQuery != "" {
				t.Errorf("%q is taken for an origin", origin)
			}
		}
	})
}

func TestSecurityHeadersCanBeOverridden(t *testing.T) {
	w := httptest.NewRecorder()
	SecurityHeaders(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
	})).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestCORSAllowsConfiguredOriginsOnly(t *testing.T) {
	const shop = "https://shop.example"
	for _, c := range []struct {
		name    string
		origins []string
		origin  string
		allowed string
	}{
		{"a configured origin", []string{shop}, shop, shop},
		{"another origin", []string{shop}, "https://elsewhere.example", ""},
		{"no configured origin", nil, shop, ""},
	} {
		preflight := httptest.NewRequest(http.MethodOptions, "/api/orders", nil)
		preflight.Header.Set("Origin", c.origin)
		preflight.Header.Set("Access-Control-Request-Method", "PATCH")
		w := httptest.NewRecorder()
		CORS(c.origins)(http.NotFoundHandler()).ServeHTTP(w, preflight)
		age := map[bool]string{true: "600"}[c.allowed != ""]
		if w.Header().Get("Access-Control-Allow-Origin") != c.allowed || w.Header().Get("Access-Control-Max-Age") != age ||
			w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v, want the origin %q for %q s", c.name, w.Header(), c.allowed, age)
		}
	}
}

func TestPerAddressLimitsEachClient(t *testing.T) {
	passed := 0
	handler := PerAddress(newLimit(1), clientaddr.Proxies{}, &problem.Mapper{Log: slog.New(slog.DiscardHandler)})(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }))
	for i, c := range []struct {
		address string
		status  int
	}{{anAddress, 200}, {anAddress, 429}, {anotherAddress, 200}} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.address + ":4711"
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != c.status {
			t.Errorf("request %d from %s: %d, want %d", i+1, c.address, w.Code, c.status)
		}
	}
	if passed != 2 {
		t.Errorf("%d requests passed, want 2", passed)
	}
}
