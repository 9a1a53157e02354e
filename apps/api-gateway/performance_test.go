//go:build !race

// The race detector would distort these figures, so they are measured without it: `make bench`.

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/performancetest"
	"platform.example/apps/internal/servicetest"
)

// The test binary plays the peers.
func TestMain(m *testing.M) {
	performancetest.Main(m, map[string]func() http.Handler{
		"service": func() http.Handler {
			body := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 510)...), '"')
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(body)
			})
		},
		"proxy": func() http.Handler { // a minimal proxy with sized pools
			to, err := url.Parse(os.Getenv("UPSTREAM"))
			if err != nil {
				panic(err)
			}
			return &httputil.ReverseProxy{
				Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
				Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
			}
		},
	})
}

// nginx proxies to upstream with keep-alive, and returns its URL.
func nginx(t *testing.T, upstream string) string {
	t.Helper()
	dir, addr := t.TempDir(), unusedAddr(t)
	conf := fmt.Sprintf(`worker_processes auto; daemon off; pid %[1]s/pid; error_log %[1]s/log;
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 10000000;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream up { server %[2]s; keepalive 256; keepalive_requests 10000000; }
  server { listen %[3]s; location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}`, dir, strings.TrimPrefix(upstream, "http://"), addr)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(backingtest.Find(t, "nginx-light", "nginx", "/usr/sbin/nginx"), "-c", file, "-p", dir)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	})
	backingtest.Eventually(t, 20*time.Second, func() error {
		connection, err := net.Dial("tcp", addr)
		if err == nil {
			_ = connection.Close()
		}
		return err
	})
	return "http://" + addr
}

// With token verification, breaker, limits, metrics and logs, the gateway forwards at least as many requests as a minimal
// httputil.ReverseProxy.
func TestPerformanceAgainstPeers(t *testing.T) {
	service := performancetest.Peer(t, "service").URL
	token := "Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	gateway := servicetest.Build(t, apiGateway, gateway{users: service, env: unlimited(map[string]string{"LOG_LEVEL": "info"})}.settings(t)).Start()
	peers := []struct{ name, url string }{
		{"the service itself", service},
		{"nginx", nginx(t, service)},
		{"httputil.ReverseProxy", performancetest.Peer(t, "proxy", "UPSTREAM="+service).URL},
		{"the gateway", gateway.HTTP},
	}
	const rounds, full, half = 4, 64, 2 // two connections make about half of the gateway's full load
	rates, light := map[string][]float64{}, map[string][]float64{}
	delays := map[string][]float64{} // in microseconds
	for range rounds {               // in turns, so that the machine's moods are shared
		for _, p := range peers {
			busy := performancetest.Load(t, p.url+"/api/users/me", full, "Authorization: "+token)
			rates[p.name] = append(rates[p.name], busy.PerSecond)
			calm := performancetest.Load(t, p.url+"/api/users/me", half, "Authorization: "+token)
			light[p.name] = append(light[p.name], calm.PerSecond)
			delays[p.name] = append(delays[p.name], float64(calm.Median.Microseconds()))
		}
	}
	const barest = "httputil.ReverseProxy"
	for _, p := range peers {
		rate := performancetest.Median(rates[p.name])
		t.Logf("%-22s %7.0f requests/s: %.2f of nginx, %.2f of %s; at %.2f of that load a median of %.0f µs, %.0f added",
			p.name, rate, rate/performancetest.Median(rates["nginx"]), rate/performancetest.Median(rates[barest]), barest,
			performancetest.Median(light[p.name])/rate, performancetest.Median(delays[p.name]), performancetest.Median(delays[p.name])-performancetest.Median(delays["the service itself"]))
	}
	if gateway, peer := performancetest.Median(rates["the gateway"]), performancetest.Median(rates[barest]); gateway < peer {
		t.Errorf("the gateway passes on %.0f requests/s, the barest %s %.0f", gateway, barest, peer)
	}
	t.Logf("memory after the load: %.0f MiB", performancetest.Memory(t, gateway.PID()))
}

// The identity that the gateway signs and the service verifies takes at most 5 % of the processor time of a request of a user who
// sends two requests a second: 60 requests have one token, which both sides cache.
func TestPerformanceOfIdentity(t *testing.T) {
	service := performancetest.Peer(t, "service")
	settings := gateway{users: service.URL, env: unlimited(map[string]string{"LOG_LEVEL": "info"})}.settings(t)
	g := servicetest.Build(t, apiGateway, settings).Start()
	token := "Authorization: Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	env := config.From(func(name string) (string, bool) { value, ok := settings[name]; return value, ok })
	signer, verifier := identity.ReadSigner(env), identity.ReadVerifier(env, "user-service")
	caller := identity.Caller{UserID: aUser, Role: identity.User}
	const most, attempts, times, perToken = 0.05, 3, 200_000, 60
	var share float64
	for range attempts { // an effect of the code repeats, an effect of the machine doesn't
		both := func() time.Duration { return performancetest.CPU(t, g.PID()) + performancetest.CPU(t, service.PID) }
		before := both()
		load := performancetest.Load(t, g.HTTP+"/api/users/me", 16, token)
		request := float64((both() - before).Nanoseconds()) / load.Requests
		before = performancetest.CPU(t, os.Getpid())
		var signed string
		for i := range times {
			cached, err := signer.Sign(caller, "user-service")
			if i%perToken == 0 {
				signed, err = signer.SignFor(caller, "user-service", time.Hour+time.Duration(i)*time.Second)
			}
			if got, invalid := verifier.Verify(signed); err != nil || invalid != nil || got != caller || cached == "" {
				t.Fatal(got, err, invalid)
			}
		}
		share = float64((performancetest.CPU(t, os.Getpid()) - before).Nanoseconds()) / times / request
		t.Logf("the identity takes %.1f %% of the %.1f µs of a request", 100*share, request/1000)
		if share <= most {
			break
		}
	}
	if share > most {
		t.Errorf("the identity takes %.1f %% of the processor time of a request, want at most %.0f %%", 100*share, 100*most)
	}
}

// allocations is what a proxied request may take, from the first byte read to
// the last change: 46 were counted; two more are allowed for concurrent work.
const allocations = 48

func TestPerformanceAllocationsPerProxiedRequest(t *testing.T) {
	service := plainService(t)
	g := gateway{users: service, env: unlimited(map[string]string{"LOG_LEVEL": "info"})}.start(t)
	token := "Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil)
	connection, err := net.Dial("tcp", strings.TrimPrefix(g.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	request := []byte("GET /api/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + "\r\n\r\n")
	response := make([]byte, 16<<10)
	perRequest := testing.AllocsPerRun(5000, func() {
		if _, err := connection.Write(request); err != nil {
			t.Fatal(err)
		}
		n, err := connection.Read(response)
		if err != nil || !bytes.HasPrefix(response[:n], []byte("HTTP/1.1 200")) {
			t.Fatalf("%v %s", err, response[:n])
		}
	})
	t.Logf("%.0f allocations per proxied request", perRequest)
	if perRequest > allocations {
		t.Errorf("%.0f allocations per proxied request, want at most %d", perRequest, allocations)
	}
}

// plainService sends the same response to every request and allocates nothing.
func plainService(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}")
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = connection.Close() }()
				buffer := make([]byte, 16<<10)
				for {
					if _, err := connection.Read(buffer); err != nil {
						return
					}
					if _, err := connection.Write(response); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

func TestPerformanceIdleMemory(t *testing.T) {
	g := servicetest.Build(t, apiGateway, gateway{users: plainService(t)}.settings(t)).Start()
	performancetest.CheckIdleMemory(t, g.PID())
}
