package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/telemetry"
)

// endpoint is a replica whose responses a test defines. By default it passes.
type endpoint struct {
	t              *testing.T
	identity       identity
	status         string
	code           int
	response       http.HandlerFunc
	calls, strange atomic.Int64 // requests of the probe, and requests without the verification header
}

func newEndpoint(t *testing.T) *endpoint {
	return &endpoint{
		t: t, identity: identity{"user-service", "aaaa", "green"}, status: "ok", code: http.StatusOK,
		response: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
	}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(telemetry.VerificationHeader) != "true" || r.Host != "" && !strings.HasPrefix(r.Host, "user-service-green:") {
		e.strange.Add(1)
	}
	if r.URL.Path == "/health" {
		w.WriteHeader(e.code)
		_, _ = fmt.Fprintf(w, `{"service":%q,"version":%q,"colour":%q,"status":%q}`,
			e.identity.Service, e.identity.Version, e.identity.Colour, e.status)
		return
	}
	if r.Method != http.MethodGet || r.URL.RequestURI() != "/users/nobody?a=b" || r.Header.Get("X-User-Id") != "nobody" {
		e.t.Errorf("got %s %s %v", r.Method, r.URL, r.Header)
	}
	e.calls.Add(1)
	e.response(w, r)
}

// green is a colour of these endpoints: 127.0.0.1, 127.0.0.2 and so on, at one port.
func green(t *testing.T, endpoints ...http.Handler) Verification {
	t.Helper()
	port := "0"
	var addresses []string
	for i, handler := range endpoints {
		ip := fmt.Sprintf("127.0.0.%d", i+1)
		listener, err := net.Listen("tcp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(listener.Addr().String())
		server := httptest.NewUnstartedServer(handler)
		_ = server.Listener.Close()
		server.Listener = listener
		server.Start()
		t.Cleanup(server.Close)
		addresses = append(addresses, ip)
	}
	at, err := url.Parse("http://user-service-green:" + port)
	if err != nil {
		t.Fatal(err)
	}
	return Verification{
		Self: config.Service{Name: "user-service", Version: "aaaa", Colour: "green"},
		At:   at, Endpoints: len(endpoints), Latency: requestTimeout, Share: 0.99,
		Probes: func() ([]Probe, error) {
			return []Probe{{
				Path: "/users/nobody?a=b", Header: http.Header{"X-User-Id": {"nobody"}},
				Want: []int{http.StatusOK, http.StatusNotFound},
			}}, nil
		},
		Resolve: func(_ context.Context, host string) ([]string, error) {
			if host != "user-service-green" {
				return nil, fmt.Errorf("resolves %q", host)
			}
			return addresses, nil
		},
	}
}

func TestHealthyColourPasses(t *testing.T) {
	first, second := newEndpoint(t), newEndpoint(t)
	result, err := green(t, first, second).Run(t.Context())
	if err != nil || result.Endpoints != 2 || result.Calls != 2*measured || result.P50 <= 0 || result.P99 < result.P50 {
		t.Errorf("got %+v, %v", result, err)
	}
	if want := fmt.Sprintf("2 endpoints of user-service aaaa in green responded correctly to %d requests: p50 ", 2*measured); !strings.HasPrefix(result.String(), want) {
		t.Errorf("prints %q, want %q", result, want)
	}
	for i, e := range []*endpoint{first, second} {
		if e.calls.Load() != warmUp+measured || e.strange.Load() != 0 {
			t.Errorf("endpoint %d had %d calls, and %d strange requests", i+1, e.calls.Load(), e.strange.Load())
		}
	}
}

// The error describes the fault of one of two endpoints in one sentence.
func TestErrorsOfUnhealthyColours(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*endpoint, *Verification)
		want  string // at the end; %s is the endpoint
	}{
		{"another version", func(e *endpoint, _ *Verification) { e.identity.Version = "bbbb" },
			"endpoint %s runs user-service bbbb in green, want aaaa in green"},
		{"another colour", func(e *endpoint, _ *Verification) { e.identity.Colour = "blue" },
			"endpoint %s runs user-service aaaa in blue, want aaaa in green"},
		{"another service", func(e *endpoint, _ *Verification) { e.identity.Service = "order-service" },
			"endpoint %s runs order-service aaaa in green, want user-service aaaa in green"},
		{"degraded", func(e *endpoint, _ *Verification) { e.status = "degraded" },
			`endpoint %s: GET /health responds with 200 and "degraded", want 200 and "ok"`},
		{"unready", func(e *endpoint, _ *Verification) { e.status, e.code = "unready", http.StatusServiceUnavailable },
			`endpoint %s: GET /health responds with 503 and "unready", want 200 and "ok"`},
		{"no response of ours", func(e *endpoint, _ *Verification) { e.identity = identity{} },
			"endpoint %s: GET /health responds with 200 and no identity, want user-service aaaa in green"},
		{"too few", func(_ *endpoint, v *Verification) { v.Endpoints = 3 },
			"user-service-green has 2 endpoints, want at least 3"},
		{"no name", func(_ *endpoint, v *Verification) {
			v.Resolve = func(context.Context, string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", Name: "user-service-green", IsNotFound: true}
			}
		}, "user-service-green has 0 endpoints, want at least 2"},
		{"no resolver", func(_ *endpoint, v *Verification) {
			v.Resolve = func(context.Context, string) ([]string, error) { return nil, errors.New("timeout") }
		}, "resolving the endpoints of user-service-green: timeout"},
		{"one failure", func(e *endpoint, _ *Verification) {
			e.response = func(w http.ResponseWriter, _ *http.Request) {
				status := http.StatusNotFound
				if e.calls.Load() == warmUp+measured/2 {
					status = http.StatusInternalServerError
				}
				w.WriteHeader(status)
			}
		}, "endpoint %s: GET /users/nobody?a=b responds with 500, want 200 or 404"},
		{"a failure while it warms up", func(e *endpoint, _ *Verification) {
			e.response = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }
		}, "endpoint %s: GET /users/nobody?a=b responds with 429, want 200 or 404"},
		{"a cut connection", func(e *endpoint, _ *Verification) {
			e.response = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		}, "endpoint %s: GET /users/nobody?a=b gets no response: EOF"},
		{"half a response", func(e *endpoint, _ *Verification) {
			e.response = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "9")
				_, _ = w.Write([]byte("x"))
			}
		}, "endpoint %s: GET /users/nobody?a=b responds with 200 and an incomplete body: unexpected EOF"},
		{"another service responds", func(_ *endpoint, v *Verification) {
			probes := v.Probes
			v.Probes = func() ([]Probe, error) { made, err := probes(); made[0].Proof = "X-Cache"; return made, err }
		}, "GET /users/nobody?a=b responds with 404 without the header X-Cache, so another service responded"},
		{"a probe that can't be made", func(_ *endpoint, v *Verification) {
			v.Probes = func() ([]Probe, error) { return nil, errors.New("signing a token: no key") }
		}, "signing a token: no key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good, bad := newEndpoint(t), newEndpoint(t)
			v := green(t, good, bad)
			c.spoil(bad, &v)
			want := strings.ReplaceAll(c.want, "%s", "127.0.0.2:"+v.At.Port())
			if _, err := v.Run(t.Context()); err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// Either every response is slower than the limit, or none is.
func TestSlowResponses(t *testing.T) {
	slowFrom := func(first, count int64) *endpoint {
		e := newEndpoint(t)
		e.response = func(w http.ResponseWriter, _ *http.Request) {
			if n := e.calls.Load(); n >= first && n < first+count {
				<-time.After(latency)
			}
			w.WriteHeader(http.StatusNotFound)
		}
		return e
	}
	for _, c := range []struct {
		name        string
		first, slow int64
		share       float64
		want        string
	}{
		{"while it warms up", 1, warmUp, 0.99, ""},
		{"once", warmUp + 1, 1, 0.99, ""},
		{"all", 1, 1000, 0.99, fmt.Sprintf("%d of %d responses took longer than %s (p99 ", measured, measured, latency)},
		{"a third", warmUp + 1, measured / 3, 0.9, fmt.Sprintf("of %d responses took longer than %s (p99 ", measured, latency)},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := green(t, slowFrom(c.first, c.slow))
			v.Latency, v.Share = latency, c.share
			_, err := v.Run(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// latency is so long that only a deliberate delay exceeds it.
const latency = 200 * time.Millisecond

func TestAllowedSlowResponses(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  int
	}{{1, 1}, {0.99, 1}, {0.95, 1}, {0.9, 3}, {0.5, 15}, {0, 30}} {
		if got := allowed(30, c.share); got != c.want {
			t.Errorf("of 30 with a share of %v: %d, want %d", c.share, got, c.want)
		}
	}
}

// What isn't there yet is waited for.
func TestLateEndpoint(t *testing.T) {
	late := newEndpoint(t)
	var ready atomic.Bool
	v := green(t, newEndpoint(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		late.ServeHTTP(w, r)
	}))
	v.Patience = patience
	resolve, lookups := v.Resolve, 0
	v.Resolve = func(ctx context.Context, host string) ([]string, error) {
		lookups++
		addresses, err := resolve(ctx, host)
		if lookups == 1 {
			return addresses[:1], err
		}
		ready.Store(lookups == 3)
		return addresses, err
	}
	if result, err := v.Run(t.Context()); err != nil || result.Endpoints != 2 || lookups != 3 {
		t.Errorf("got %+v, %v after %d lookups", result, err, lookups)
	}
}

func TestCancelledVerification(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	e := newEndpoint(t)
	e.response = func(_ http.ResponseWriter, r *http.Request) { stop(); <-r.Context().Done() }
	if _, err := green(t, e).Run(ctx); err == nil || !strings.HasSuffix(err.Error(), ": the verification was stopped") {
		t.Errorf("got %v", err)
	}
	expired, cancel := context.WithTimeoutCause(t.Context(), 0, errors.New("the verification isn't done within 1m0s"))
	defer cancel()
	if _, err := green(t, newEndpoint(t)).Run(expired); err == nil || err.Error() != "the verification isn't done within 1m0s" {
		t.Errorf("got %v", err)
	}
}

func TestInvalidEnvironment(t *testing.T) {
	good := map[string]string{
		"VERIFY_URL": "http://user-service-green:8080", "VERIFY_ENDPOINTS": "2", "VERIFY_LATENCY": "250ms", "VERIFY_LATENCY_SHARE": "0.99",
	}
	faults := func(name, value string) string {
		env := config.From(func(variable string) (string, bool) {
			if variable == name {
				return value, true
			}
			set, ok := good[variable]
			return set, ok
		})
		read(env, "user-service")
		if err := env.Err(); err != nil {
			return err.Error()
		}
		return ""
	}
	if got := faults("", ""); got != "" {
		t.Errorf("a valid environment has faults: %s", got)
	}
	for name, values := range map[string][]string{
		"VERIFY_URL": {"", "user-service:8080"}, "VERIFY_ENDPOINTS": {"", "0", "many"}, "VERIFY_LATENCY": {"", "0s", "1h"},
		"VERIFY_LATENCY_SHARE": {"", "1.1", "-1", "NaN", "99%"}, "VERIFY_PATIENCE": {"1h"},
	} {
		for _, value := range values {
			if got := faults(name, value); !strings.Contains(got, "- "+name+" ") {
				t.Errorf("%s=%q: got %q", name, value, got)
			}
		}
	}
}
