//go:build !race

// What the race detector makes of these figures means nothing, so that they
// are taken without it: `make bench`.

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// The test binary plays the peers, each in a process of its own.
const playing = "GATEWAY_TEST_PLAYS"

func TestMain(m *testing.M) {
	switch os.Getenv(playing) {
	case "service":
		body := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 510)...), '"')
		play(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		}))
	case "proxy": // the barest there is, with sized pools
		to, err := url.Parse(os.Getenv("UPSTREAM"))
		if err != nil {
			panic(err)
		}
		play(&httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
			Transport: &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256, DisableCompression: true},
			ErrorLog:  nil,
		})
	default:
		os.Exit(m.Run())
	}
}

// play serves, says where, and ends with the pipe that its input is.
func play(handler http.Handler) {
	server := httptest.NewServer(handler)
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// peer starts a process that plays a part, and returns its URL.
func peer(t *testing.T, part string, env ...string) string {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), playing+"="+part), env...)
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
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
	c := exec.Command(find(t, "nginx"), "-c", file, "-p", dir)
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

func find(t *testing.T, program string) string {
	t.Helper()
	for _, candidate := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("this test needs %s: install it with `make bench`", program)
	return ""
}

var (
	requestsPerSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	medianLatency     = regexp.MustCompile(`50%\s+([0-9.]+(?:us|ms|s))\b`)
)

// load asks for two seconds over so many connections, and returns the requests
// per second and the median of how long an answer took.
func load(t *testing.T, url, auth string, connections int) (rate float64, median time.Duration) {
	t.Helper()
	out, err := exec.Command(find(t, "wrk"), "-t1", "-c"+strconv.Itoa(connections), "-d2s", "--latency",
		"-H", "Authorization: "+auth, url).CombinedOutput()
	perSecond, half := requestsPerSecond.FindSubmatch(out), medianLatency.FindSubmatch(out)
	if err != nil || perSecond == nil || half == nil || bytes.Contains(out, []byte("Non-2xx")) {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	if rate, err = strconv.ParseFloat(string(perSecond[1]), 64); err != nil {
		t.Fatal(err)
	}
	if median, err = time.ParseDuration(string(half[1])); err != nil {
		t.Fatal(err)
	}
	return rate, median
}

// middle is the median of an even number of figures.
func middle(figures []float64) float64 {
	slices.Sort(figures)
	return (figures[len(figures)/2-1] + figures[len(figures)/2]) / 2
}

// With token check, breaker, limits, metrics and logs on, the gateway passes on
// at least as much as the barest httputil.ReverseProxy.
func TestPerformanceAgainstPeers(t *testing.T) {
	service := peer(t, "service")
	token := "Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret), nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	gateway := servicetest.Build(t, apiGateway, gateway{users: service, env: unlimited(map[string]string{"LOG_LEVEL": "info"})}.settings(t)).Start()
	peers := []struct{ name, url string }{
		{"the service itself", service},
		{"nginx", nginx(t, service)},
		{"httputil.ReverseProxy", peer(t, "proxy", "UPSTREAM="+service)},
		{"the gateway", gateway.HTTP},
	}
	const rounds, full, half = 4, 64, 2 // two connections make about half of the gateway's full load
	rates, light := map[string][]float64{}, map[string][]float64{}
	delays := map[string][]float64{} // in microseconds
	for range rounds {               // in turns, so that the machine's moods are shared
		for _, p := range peers {
			rate, _ := load(t, p.url+"/api/users/me", token, full)
			rates[p.name] = append(rates[p.name], rate)
			rate, delay := load(t, p.url+"/api/users/me", token, half)
			light[p.name] = append(light[p.name], rate)
			delays[p.name] = append(delays[p.name], float64(delay.Microseconds()))
		}
	}
	const barest = "httputil.ReverseProxy"
	for _, p := range peers {
		rate := middle(rates[p.name])
		t.Logf("%-22s %7.0f requests/s: %.2f of nginx, %.2f of %s; at %.2f of that load a median of %.0f µs, %.0f added",
			p.name, rate, rate/middle(rates["nginx"]), rate/middle(rates[barest]), barest,
			middle(light[p.name])/rate, middle(delays[p.name]), middle(delays[p.name])-middle(delays["the service itself"]))
	}
	if gateway, peer := middle(rates["the gateway"]), middle(rates[barest]); gateway < peer {
		t.Errorf("the gateway passes on %.0f requests/s, the barest %s %.0f", gateway, barest, peer)
	}
	t.Logf("memory after the load: %.0f MiB", rss(t, gateway.PID()))
}

// allocations is what a proxied request may take, from the first byte read to
// the last written: 46 were counted; two more are left for what goes on beside it.
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
	answer := make([]byte, 16<<10)
	perRequest := testing.AllocsPerRun(5000, func() {
		if _, err := connection.Write(request); err != nil {
			t.Fatal(err)
		}
		n, err := connection.Read(answer)
		if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
			t.Fatalf("%v %s", err, answer[:n])
		}
	})
	t.Logf("%.0f allocations per proxied request", perRequest)
	if perRequest > allocations {
		t.Errorf("%.0f allocations per proxied request, want at most %d", perRequest, allocations)
	}
}

// plainService answers every request alike and allocates nothing.
func plainService(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}")
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
					if _, err := connection.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// An idle gateway takes at most 30 MiB.
func TestPerformanceIdleMemory(t *testing.T) {
	g := servicetest.Build(t, apiGateway, gateway{users: plainService(t)}.settings(t)).Start()
	if memory := rss(t, g.PID()); memory > 30 {
		t.Errorf("it takes %.0f MiB", memory)
	} else {
		t.Logf("it takes %.0f MiB", memory)
	}
}
