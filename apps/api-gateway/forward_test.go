package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/etag"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/servicetest"
)

// The test's own service records the forwarded request.
func TestForwardedRequest(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	users := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		h := w.Header()
		h.Set("Connection", "X-Hop")
		h.Set("X-Hop", "1")
		h.Set("X-Cache", "hit")
		h.Add("X-Twice", "1")
		h.Add("X-Twice", "2")
		h.Set("Content-Security-Policy", "default-src *")
	})
	g := gateway{users: users.URL}.start(t)
	token := signIn(t, g.HTTP).AccessToken
	response := servicetest.Call(t, "GET", g.HTTP+"/api/users/me?a=b%3Bc&d=%2F", "",
		"Authorization: Bearer "+token, "X-User-Id: someone", "X-User-Role: admin", "x-user-name: root",
		"X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-Ip: 6.6.6.6", "Cookie: a=b",
		"Connection: X-Client-Hop", "X-Client-Hop: 1", "X-Request-Id: abc-1", "X-Mine: 1", "User-Agent: test/1",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

	got := seen.Load()
	if caller, want := servicetest.CallerOf(t, got, "user-service"), (identity.Caller{UserID: aUser, Role: identity.User}); caller != want {
		t.Errorf("the caller is %+v, want %+v", caller, want)
	}
	if got.RequestURI != "/users/"+aUser+"?a=b%3Bc&d=%2F" {
		t.Errorf("got %s", got.RequestURI)
	}
	if want := strings.TrimPrefix(users.URL, "http://"); got.Host != want {
		t.Errorf("Host is %s, want %s", got.Host, want)
	}
	for header, want := range map[string]string{
		"X-User-Id": "", "X-User-Role": "", "X-User-Name": "", "Authorization": "", "Forwarded": "", "X-Real-Ip": "", "Cookie": "",
		"X-Client-Hop": "", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(g.HTTP, "http://"),
		"X-Forwarded-Proto": "http", "X-Request-Id": "abc-1", "X-Mine": "1", "User-Agent": "test/1",
	} {
		if value := strings.Join(got.Header.Values(header), "|"); value != want {
			t.Errorf("%s is %q, want %q", header, value, want)
		}
	}
	if trace := got.Header.Get("Traceparent"); len(trace) != 55 || strings.Contains(trace, "0af7651916cd43dd8448eb211c80319c") || !strings.HasSuffix(trace, "-00") {
		t.Errorf("Traceparent is %q: want a trace of the gateway's own, not sampled", trace)
	}

	for header, want := range map[string]string{
		"X-Hop": "", "X-Cache": "hit", "X-Twice": "1|2", "X-Request-Id": "abc-1", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store",
	} {
		if value := strings.Join(response.Header.Values(header), "|"); value != want {
			t.Errorf("the client gets %s %q, want %q", header, value, want)
		}
	}
}

// Behind the edge, a service receives the address of the client, not of the edge, even if both have private addresses,
// and the scheme between the client and the edge.
func TestForwardedRequestBehindTheEdge(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	users := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) { seen.Store(r) })
	g := gateway{users: users.URL, env: map[string]string{"TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8"}}.start(t)
	token := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	for _, client := range []string{"10.231.0.1", "10.231.0.2", "198.51.100.7"} {
		servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", token, "X-Forwarded-For: "+client, "X-Forwarded-Proto: https")
		h := seen.Load().Header
		if from, scheme := h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Proto"); from != client || scheme != "https" {
			t.Errorf("%s is forwarded as %s, with %s", client, from, scheme)
		}
	}
}

// Every kind of response and body arrives as it was sent.
func TestResponsesAreForwarded(t *testing.T) {
	const knownOrder = "01890000-0000-7000-8000-000000000007"
	orders := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/orders":
			if r.Method == http.MethodPost {
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("Location", "/orders/1")
				w.Header().Set("Cache-Control", "max-age=5")
				w.WriteHeader(http.StatusCreated)
				_, _ = w.Write(body)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		case "/orders/" + knownOrder:
			w.Header().Set("ETag", `"7"`)
			switch {
			case r.Header.Get("If-None-Match") == `"7"`:
				w.WriteHeader(http.StatusNotModified)
			case r.Header.Get("If-Match") == `"6"`:
				w.WriteHeader(http.StatusPreconditionFailed)
			}
		default: // in pieces of no stated length
			for range 3 {
				_, _ = io.WriteString(w, strings.Repeat("x", 50<<10))
				_ = http.NewResponseController(w).Flush()
			}
		}
	})
	users := newStandIn(t, nil)
	g := gateway{users: users.URL, orders: orders.URL}.start(t)
	auth := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken

	body := strings.Repeat("b", 60<<10)
	created := servicetest.Call(t, "POST", g.HTTP+"/api/orders", body, auth)
	if created.Status != http.StatusCreated || created.Body != body ||
		created.Header.Get("Location") != "/api/orders/1" || created.Header.Get("Cache-Control") != "max-age=5" {
		t.Errorf("got %d, %d bytes, %v", created.Status, len(created.Body), created.Header)
	}
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/orders", "", auth); a.Status != http.StatusNoContent || a.Body != "" || a.Header.Get("Content-Length") != "" || a.Header.Get("Content-Type") != "" {
		t.Errorf("got %+v", a)
	}
	for _, path := range []string{"/health", "/docs", "/openapi.json", "/api/users/me"} {
		get, head := servicetest.Call(t, "GET", g.HTTP+path, "", auth), servicetest.Call(t, "HEAD", g.HTTP+path, "", auth)
		if head.Status != http.StatusOK || head.Body != "" || head.Header.Get("Content-Type") != get.Header.Get("Content-Type") {
			t.Errorf("HEAD %s: %+v", path, head)
		}
	}
	if a := servicetest.Call(t, "PUT", g.HTTP+"/api/users/me", "", auth); a.Header.Get("Allow") != "GET, HEAD, PATCH, DELETE" {
		t.Errorf("Allow: %s", a.Header.Get("Allow"))
	}
	for _, path := range []string{"/api/users/me?limit=1;x=1", "/api/orders?after=%ZZ", "/docs?%", "/health?%"} {
		if a := servicetest.Call(t, "GET", g.HTTP+path, "", auth); a.Status != http.StatusBadRequest || a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if a := servicetest.Call(t, "POST", g.HTTP+"/api/orders", body, auth, "Content-Encoding: gzip"); a.Status != http.StatusUnsupportedMediaType {
		t.Errorf("a coded body: %+v", a)
	}
	for condition, status := range map[string]int{`If-None-Match: "7"`: 304, `If-None-Match: "6"`: 200, `If-Match: "6"`: 412, `If-Match: "7"`: 200} {
		if a := servicetest.Call(t, "GET", g.HTTP+"/api/orders/"+knownOrder, "", auth, condition); a.Status != status ||
			a.Header.Get("ETag") != `"7"` || a.Body != "" {
			t.Errorf("%s: got %+v, want %d", condition, a, status)
		}
	}
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/orders/"+aUser, "", auth); a.Status != http.StatusOK || len(a.Body) != 150<<10 {
		t.Errorf("got %d with %d bytes", a.Status, len(a.Body))
	}
}

// If a service closes idle connections, no request is lost, not even one that must not be sent twice.
// A client that gets a compressed form of a resource can change the resource, and asks for the same form by its tag.
func TestTagsOfEncodingsAreForwarded(t *testing.T) {
	users := newStandIn(t, func(w http.ResponseWriter, r *http.Request) { // as user-service, with version 7
		if r.Method == http.MethodGet {
			_, _ = etag.NotModified(w, r, 7)
		} else if versions, err := etag.IfMatch(r); err != nil || !slices.Contains(versions, 7) {
			w.WriteHeader(http.StatusPreconditionFailed)
		}
	})
	g := gateway{users: users.URL}.start(t)
	token := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	tags := map[string]string{"identity": "", "gzip": "", "br": "", "zstd, br, gzip": ""}
	for encoding := range tags {
		tags[encoding] = servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", token, "Accept-Encoding: "+encoding).Header.Get("ETag")
	}
	if different := slices.Compact(slices.Sorted(maps.Values(tags))); len(different) != len(tags) || tags["identity"] != `"7"` {
		t.Errorf("the tags are %v", tags)
	}
	for encoding, tag := range tags {
		for other, want := range tags {
			a := servicetest.Call(t, "GET", g.HTTP+"/api/users/me", "", token, "Accept-Encoding: "+other, "If-None-Match: "+tag)
			if a.Header.Get("ETag") != want || (a.Status == http.StatusNotModified) != (encoding == other) {
				t.Errorf("GET as %s with the tag of %s: %+v", other, encoding, a)
			}
			if a := servicetest.Call(t, "PATCH", g.HTTP+"/api/users/me", `{"name":"B"}`, token, "Accept-Encoding: "+other, "If-Match: "+tag); a.Status != http.StatusOK {
				t.Errorf("PATCH as %s with the tag of %s: %+v", other, encoding, a)
			}
		}
	}
}

func TestConnectionsClosedByServiceAreReplaced(t *testing.T) {
	var received atomic.Int64
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { received.Add(1) }))
	closed := make(chan struct{}, 1000)
	service.Config.IdleTimeout = 20 * time.Millisecond
	service.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	service.Start()
	t.Cleanup(service.Close)
	g := gateway{orders: service.URL}.start(t)
	auth := "Authorization: Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil)
	const requests = 20
	for range requests {
		if a := servicetest.Call(t, "POST", g.HTTP+"/api/orders", "{}", auth); a.Status != http.StatusOK {
			t.Fatalf("got %+v", a)
		}
		select {
		case <-closed:
		case <-time.After(20 * time.Second):
			t.Fatal("the service doesn't close its connections")
		}
	}
	if n := received.Load(); n != requests {
		t.Errorf("the service got %d requests, want %d", n, requests)
	}
	if n := metric(t, g.Ops, `gateway_retries_total{service="order-service"}`); n != 0 {
		t.Errorf("%v retries", n)
	}
}

func TestFailingService(t *testing.T) {
	hang := make(chan struct{})
	users := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			<-hang
			return
		}
		// Sends a response that isn't HTTP.
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(connection, "?\r\n\r\n")
			_ = connection.Close()
		}
	})
	t.Cleanup(func() { close(hang) })
	huge := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 5 << 10 {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<10)); err != nil {
				return
			}
		}
	})
	g := gateway{users: users.URL, notifications: huge.URL}.start(t)
	auth := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken

	for _, c := range []struct {
		name, method, path string
		status             int
		retryAfter         string
	}{
		{"sends an invalid response", "GET", "/api/users/me", 502, ""},
		{"hangs", "DELETE", "/api/users/me", 504, ""},
		{"is down", "GET", "/api/orders", 503, "1"},
		{"sends an endless response", "GET", "/api/notifications", 502, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := servicetest.Call(t, c.method, g.HTTP+c.path, "", auth)
			if a.Status != c.status || a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Retry-After") != c.retryAfter {
				t.Errorf("got %+v", a)
			}
			for _, internal := range []string{"127.0.0.1", "dial", "malformed", "fasthttp"} {
				if strings.Contains(a.Body, internal) {
					t.Errorf("the client receives %q: %s", internal, a.Body)
				}
			}
		})
	}
	// The gateway has never reached one of them: after its start it isn't ready yet.
	if a := servicetest.Call(t, "GET", g.Ops+"/readyz", ""); a.Status != http.StatusServiceUnavailable ||
		!strings.Contains(a.Body, `"status":"starting"`) || !strings.Contains(a.Body, `"order-service":"unwell"`) {
		t.Errorf("/readyz: %+v", a)
	}
	metrics := servicetest.Call(t, "GET", g.Ops+"/metrics", "").Body
	for _, want := range []string{
		`gateway_service_errors_total{method="GET",service="user-service"} 1`, `gateway_service_errors_total{method="DELETE",service="user-service"} 1`,
		`gateway_service_errors_total{method="GET",service="order-service"} 1`,
		`gateway_requests_total{method="GET",service="notification-service",status="5xx"} 1`,
		`gateway_request_duration_seconds_count{method="POST",service="user-service"} 1`, `gateway_breaker_state{service="order-service"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// raw sends a request that no client library would send.
func raw(t *testing.T, url, request string) *http.Response {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(connection, request)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// A client can't send two tokens, hide a second request in one, or set its own identity.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	var requests atomic.Int64
	headers := make(chan http.Header, 100)
	users := newStandIn(t, func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		headers <- maps.Clone(r.Header)
		_, _ = io.Copy(io.Discard, r.Body)
	})
	g := gateway{users: users.URL}.start(t)
	auth := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken + "\r\n"
	const smuggled = "GET /users HTTP/1.1\r\nHost: x\r\nX-User-Role: admin\r\n\r\n"

	for name, c := range map[string]struct {
		raw    string
		status int
	}{
		"two Authorization headers": {"GET /api/users/me HTTP/1.1\r\nHost: x\r\n" + auth + auth + "\r\n", 401},
		"no scheme":                 {"GET /api/users/me HTTP/1.1\r\nHost: x\r\n" + strings.Replace(auth, "Bearer ", "", 1) + "\r\n", 401},
		"two lengths":               {"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\naa", 400},
		"a signed length":           {"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na", 400},
		"a length of letters":       {"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 1a\r\n\r\na", 400},
		"an unknown encoding":       {"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		"two encodings":             {"POST /api/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
		"a bad chunk":               {"POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n", 400},
		"a space before the colon":  {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer a\r\n\r\n", 400},
		"a folded header":           {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n X-User-Id: 2\r\n\r\n", 401},
		"a header with a NUL":       {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", 400},
		"two hosts":                 {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		"a path out of the API":     {"GET /api/users/../../sessions/revoked HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404},
		"an encoded path":           {"GET /api/users/%2e%2e%2fsessions HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 404},
		"an internal path":          {"POST /api/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + auth + "\r\n", 404},
		"a huge header":             {"GET /api/users/me HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", 32<<10) + "\r\n\r\n", 431},
		"CONNECT":                   {"CONNECT internal:80 HTTP/1.1\r\nHost: internal:80\r\n\r\n", 404},
		"an absolute URL":           {"GET http://internal/users HTTP/1.1\r\nHost: internal\r\n\r\n", 404},
	} {
		t.Run(name, func(t *testing.T) {
			before := requests.Load()
			if response := raw(t, g.HTTP, c.raw); response.StatusCode != c.status {
				t.Errorf("got %s, want %d", response.Status, c.status)
			}
			if requests.Load() != before {
				t.Error("the service got a request")
			}
		})
	}

	// RFC 9112, 6.3: a length next to an encoding is dropped. Data after the last chunk isn't part of the request
	// and carries no identity of an admin.
	t.Run("both a length and an encoding", func(t *testing.T) {
		response := raw(t, g.HTTP, "PATCH /api/users/me HTTP/1.1\r\nHost: x\r\n"+auth+"Content-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("got %s", response.Status)
		}
		h := <-headers
		if h.Get("Content-Length") != "" && h.Get("Content-Length") != "0" {
			t.Errorf("the service gets a Content-Length of %s", h.Get("Content-Length"))
		}
		select {
		case h := <-headers:
			t.Errorf("the service got a second request: %v", h)
		default:
		}
	})
}

// Clients that don't read their large responses occupy little memory, and cause no failure of a small response.
func TestSlowClientsOccupyLittleMemory(t *testing.T) {
	const size, clients, limit = 1200 << 10, 100, 96 << 20 // 100 orders of 100 items have 1.2 MB
	var sent atomic.Int64
	orders := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			_, _ = w.Write(make([]byte, size))
			sent.Add(1)
		}
	})
	g := gateway{orders: orders.URL, users: newStandIn(t, nil).URL}.start(t)
	authorization := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	// Over loopback the kernel would buffer the responses, because its segments have 64 KiB.
	ethernet := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		return errors.Join(raw.Control(func(socket uintptr) {
			err = syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
		}), err)
	}}
	var open []net.Conn
	for range clients {
		connection := backingtest.Must[net.Conn](t)(ethernet.Dial("tcp", strings.TrimPrefix(g.HTTP, "http://")))
		defer func() { _ = connection.Close() }()
		_, _ = io.WriteString(connection, "GET /api/orders?limit=100 HTTP/1.1\r\nHost: x\r\n"+authorization+"\r\n\r\n")
		open = append(open, connection)
	}
	backingtest.Eventually(t, 10*time.Second, func() error {
		if n := sent.Load(); n < clients {
			return fmt.Errorf("%d responses are sent", n)
		}
		return nil
	})
	var memory runtime.MemStats
	runtime.GC()
	if runtime.ReadMemStats(&memory); memory.HeapAlloc > limit {
		t.Errorf("%d clients occupy %d MiB", clients, memory.HeapAlloc>>20)
	}
	status := func(query string) int {
		return servicetest.Call(t, "GET", g.HTTP+"/api/orders"+query, "", authorization).Status
	}
	if small, page := status(""), status("?limit=100"); small != http.StatusOK || page != http.StatusServiceUnavailable {
		t.Errorf("meanwhile a small response has the status %d, and a large one %d", small, page)
	}
	for _, connection := range open {
		_ = connection.Close()
	}
	backingtest.Eventually(t, 10*time.Second, func() error {
		if page := status("?limit=100"); page != http.StatusOK {
			return fmt.Errorf("afterwards a large response has the status %d", page)
		}
		return nil
	})
}
