package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/performancetest"
	"platform.example/apps/internal/servicetest"
)

const apiGateway = "platform.example/apps/api-gateway"

// flood sends n requests, atOnce of them concurrently, and returns their durations and the number of each status.
func flood(t *testing.T, n, atOnce int, send func(*http.Client, int) (status int, err error)) (times []time.Duration, statuses map[int]int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	statuses = map[int]int{}
	var next atomic.Int64
	var working sync.WaitGroup
	for range atOnce {
		working.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				start := time.Now()
				status, err := send(client, i)
				took := time.Since(start)
				mu.Lock()
				if err != nil {
					status = -1
					t.Log(err)
				}
				times = append(times, took)
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	working.Wait()
	slices.Sort(times)
	return times, statuses
}

func get(url, auth string) func(*http.Client, int) (int, error) {
	return func(client *http.Client, _ int) (int, error) {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		request.Header.Set("Authorization", auth)
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, response.Body)
		return response.StatusCode, errors.Join(err, response.Body.Close())
	}
}

func quantile(times []time.Duration, q float64) time.Duration {
	return times[min(len(times)-1, int(q*float64(len(times))))]
}

func metric(t *testing.T, ops, sample string) float64 {
	t.Helper()
	for line := range strings.Lines(servicetest.Call(t, "GET", ops+"/metrics", "").Body) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), sample+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

func unlimited(more map[string]string) map[string]string {
	return servicetest.Env(map[string]string{"REQUESTS_PER_MINUTE": "1000000000"}, more)
}

// A slow service delays only its own requests.
func TestSlowServiceDoesNotAffectOthers(t *testing.T) {
	slow := newStandIn(t, nil)
	proxy := backingtest.StartProxy(t, strings.TrimPrefix(slow.URL, "http://"))
	well := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	g := gateway{users: well.URL, orders: "http://" + proxy.Addr(), notifications: well.URL, env: unlimited(nil)}.start(t)
	auth := "Bearer " + signIn(t, g.HTTP).AccessToken
	notifications := get(g.HTTP+"/api/notifications", auth)
	if status, err := get(g.HTTP+"/api/orders", auth)(http.DefaultClient, 0); status != http.StatusOK {
		t.Fatalf("the slow service before it is slow: %d, %v", status, err)
	}

	calm, statuses := flood(t, 2000, 4, notifications)
	if statuses[http.StatusOK] != 2000 {
		t.Fatalf("before: %v", statuses)
	}

	proxy.Delay(20 * time.Second)
	var asking sync.WaitGroup
	var slowStatuses map[int]int
	var slowTimes []time.Duration
	asking.Go(func() { slowTimes, slowStatuses = flood(t, 400, 20, get(g.HTTP+"/api/orders", auth)) })
	troubled, statuses := flood(t, 2000, 4, notifications)
	asking.Wait()

	if statuses[http.StatusOK] != 2000 {
		t.Errorf("the other service meanwhile: %v", statuses)
	}
	if slowStatuses[http.StatusGatewayTimeout] < 5 || slowStatuses[http.StatusGatewayTimeout] > 40 ||
		slowStatuses[http.StatusGatewayTimeout]+slowStatuses[http.StatusServiceUnavailable] != 400 {
		t.Errorf("the slow service: %v, want a few 504 until the breaker opens, then 503", slowStatuses)
	}
	if quantile(slowTimes, 0.5) > quantile(slowTimes, 1)/10 {
		t.Errorf("half of the refusals took more than %s of at most %s: the breaker decides at once", quantile(slowTimes, 0.5), quantile(slowTimes, 1))
	}
	// The limit allows for noise of the machine, but not for a wait for the slow service, which takes seconds.
	if before, during := quantile(calm, 0.99), quantile(troubled, 0.99); during > 10*before+100*time.Millisecond {
		t.Errorf("p99 of the other service: %s before, %s meanwhile", before, during)
	}
	if state := metric(t, g.Ops, `gateway_breaker_state{service="order-service"}`); state != 2 {
		t.Errorf("the breaker's state is %v, want 2 (open)", state)
	}
	a := servicetest.Call(t, "GET", g.HTTP+"/api/orders", "", "Authorization: "+auth)
	if wait, _ := strconv.Atoi(a.Header.Get("Retry-After")); wait < 1 || wait > 60 {
		t.Errorf("Retry-After is %q s, want the rest of 60", a.Header.Get("Retry-After"))
	}
}

// Beyond the ten saved retries, at most a tenth of the requests is retried, and only requests that may be sent twice.
func TestRetriesStayWithinBudget(t *testing.T) {
	var mu sync.Mutex
	sent := map[string]int{} // how often each request was sent
	flaky := newStandIn(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		mu.Lock()
		sent[id]++
		first := sent[id] == 1
		mu.Unlock()
		if !first || strings.HasPrefix(id, "good") {
			return
		}
		if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = connection.Close()
		}
	})
	g := gateway{users: flaky.URL, orders: flaky.URL, env: unlimited(nil)}.start(t)
	auth := "Authorization: Bearer " + signIn(t, g.HTTP).AccessToken
	call := func(method, path, id string, headers ...string) (status, times int) {
		t.Helper()
		a := servicetest.Call(t, method, g.HTTP+path, "", append(headers, auth, "X-Request-Id: "+id)...)
		mu.Lock()
		defer mu.Unlock()
		return a.Status, sent[id]
	}
	for _, c := range []struct {
		method, path, header string
		status, times        int
	}{
		{"GET", "/api/orders", "X-A: b", http.StatusOK, 2},
		{"POST", "/api/orders", "X-A: b", http.StatusBadGateway, 1},
		{"POST", "/api/orders", "Idempotency-Key: k", http.StatusOK, 2},
		{"POST", "/api/users", "Idempotency-Key: k", http.StatusBadGateway, 1}, // user-service doesn't honour it
		{"POST", "/api/orders/" + aUser + "/cancel", "Idempotency-Key: k", http.StatusBadGateway, 1},
	} {
		if status, times := call(c.method, c.path, c.method+c.header[:1]+strings.ReplaceAll(c.path, "/", "-"), c.header); status != c.status || times != c.times {
			t.Errorf("%s %s with %s: %d after %d times, want %d after %d", c.method, c.path, c.header, status, times, c.status, c.times)
		}
	}

	const requests = 300
	retries := 0
	for i := range requests {
		id := fmt.Sprintf("bad-%d", i)
		if i%2 == 0 { // so that the breaker sees successes
			id = fmt.Sprintf("good-%d", i)
		}
		_, times := call("GET", "/api/orders", id)
		retries += times - 1
	}
	if retries < requests/10 || retries > requests/10+10 {
		t.Errorf("%d of %d requests were sent twice, want a tenth and up to 10 saved", retries, requests)
	}
}

// The requests in flight to a service are limited: the others fail at once.
func TestBulkhead(t *testing.T) {
	var inFlight, most atomic.Int64
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	slow := newStandIn(t, func(http.ResponseWriter, *http.Request) {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		for {
			seen := most.Load()
			if n <= seen || most.CompareAndSwap(seen, n) {
				break
			}
		}
		<-released
	})
	g := gateway{users: slow.URL, orders: slow.URL, env: unlimited(nil)}.start(t)
	auth := "Bearer " + signIn(t, g.HTTP).AccessToken
	const bulkhead, requests = 256, 300
	t.Cleanup(release) // before the stand-in's, which waits for its requests
	done := make(chan map[int]int, 1)
	go func() {
		_, statuses := flood(t, requests, requests, get(g.HTTP+"/api/orders", auth))
		done <- statuses
	}()
	backingtest.Eventually(t, 30*time.Second, func() error {
		if n := metric(t, g.Ops, `gateway_rejections_total{reason="bulkhead",service="order-service"}`); n != requests-bulkhead {
			return fmt.Errorf("%v were refused, want %d", n, requests-bulkhead)
		}
		if n := inFlight.Load(); n != bulkhead { // the last ones may still be arriving
			return fmt.Errorf("%d are in flight, want %d", n, bulkhead)
		}
		return nil
	})
	release()
	statuses := <-done
	if statuses[http.StatusOK] != bulkhead || statuses[http.StatusServiceUnavailable] != requests-bulkhead || most.Load() != bulkhead {
		t.Errorf("responds with %v, at most %d in flight: want %d", statuses, most.Load(), bulkhead)
	}
}

// 2,000 clients that send their requests a byte at a time take neither memory nor time from others, and are
// disconnected.
func TestSlowClients(t *testing.T) {
	users := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	g := servicetest.Build(t, apiGateway, gateway{users: users.URL, notifications: users.URL, env: unlimited(nil)}.settings(t)).Start()
	send := get(g.HTTP+"/api/notifications", "Bearer "+signIn(t, g.HTTP).AccessToken)
	calm, _ := flood(t, 2000, 4, send)

	const clients = 2000
	connections := make([]net.Conn, clients)
	for i := range connections {
		c, err := net.Dial("tcp", strings.TrimPrefix(g.HTTP, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		connections[i] = c
		_, _ = io.WriteString(c, "POST /api/users HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n")
	}
	cut := make(chan int)
	trickled := time.Now()
	go func() { // a byte each, again and again, until they are cut off
		gone := 0
		for len(connections) > 0 && time.Since(trickled) < time.Minute {
			connections = slices.DeleteFunc(connections, func(c net.Conn) bool {
				_, err := io.WriteString(c, "a")
				if err != nil {
					gone++
				}
				return err != nil
			})
			time.Sleep(100 * time.Millisecond) // it is how they attack
		}
		cut <- gone
	}()
	slowed, statuses := flood(t, 2000, 4, send)
	memory := performancetest.Memory(t, g.PID())
	if statuses[http.StatusOK] != 2000 {
		t.Errorf("the others meanwhile: %v", statuses)
	}
	if before, during := quantile(calm, 0.99), quantile(slowed, 0.99); during > 10*before+100*time.Millisecond {
		t.Errorf("p99 of the others: %s before, %s meanwhile", before, during)
	}
	if memory > 128 {
		t.Errorf("the gateway takes %.0f MiB", memory)
	}
	if gone := <-cut; gone != clients {
		t.Errorf("%d of %d were cut off", gone, clients)
	}
	t.Logf("p99 %s, then %s; %.0f MiB", quantile(calm, 0.99), quantile(slowed, 0.99), memory)
}

// Bodies above the limit are refused, with or without a Content-Length,
// and take no memory.
func TestLargeBodiesAreRefused(t *testing.T) {
	var requests atomic.Int64
	users := newStandIn(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })
	g := servicetest.Build(t, apiGateway, gateway{users: users.URL, env: unlimited(nil)}.settings(t)).Start()
	before := performancetest.Memory(t, g.PID())
	const huge = 64 << 20
	for name, length := range map[string]int64{"stated": huge, "chunked": -1} {
		_, statuses := flood(t, 200, 20, func(client *http.Client, _ int) (int, error) {
			body := io.LimitReader(zeros{}, huge)
			request, err := http.NewRequest(http.MethodPost, g.HTTP+"/api/users", io.NopCloser(body))
			if err != nil {
				return 0, err
			}
			request.ContentLength = length
			request.Header.Set("Expect", "100-continue") // so that the response is read before the body is sent
			response, err := client.Do(request)
			if err != nil {
				if errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "reset") || strings.Contains(err.Error(), "broken pipe") {
					return http.StatusRequestEntityTooLarge, nil // closed on while it was sending
				}
				return 0, err
			}
			return response.StatusCode, response.Body.Close()
		})
		if statuses[http.StatusRequestEntityTooLarge] != 200 {
			t.Errorf("%s: %v", name, statuses)
		}
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("the service got %d requests", n)
	}
	if after := performancetest.Memory(t, g.PID()); after > before+48 {
		t.Errorf("the memory grew from %.0f to %.0f MiB", before, after)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// While user-service is unavailable, clients with a token can still use the other services.
func TestTokensWorkWithoutUserService(t *testing.T) {
	orders := newStandIn(t, nil)
	g := gateway{orders: orders.URL}.start(t)
	token := sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil)
	if a := servicetest.Call(t, "GET", g.HTTP+"/api/orders", "", "Authorization: Bearer "+token); a.Status != http.StatusOK {
		t.Errorf("got %+v", a)
	}
	if a := servicetest.Call(t, "POST", g.HTTP+"/api/auth/token", `{"email":"a@example.com","password":"x"}`); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("signing in: %+v", a)
	}
}

// The gateway shares its state through Redis and never waits for it.
func TestRedisOutageCostsNothing(t *testing.T) {
	users := newStandIn(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	redis := backingtest.StartRedis(t)
	g := gateway{users: users.URL, redis: redis, env: unlimited(nil)}.start(t)
	send := get(g.HTTP+"/api/users/me", "Bearer "+signIn(t, g.HTTP).AccessToken)
	calm, _ := flood(t, 2000, 4, send)
	check := func(what string) {
		t.Helper()
		times, statuses := flood(t, 2000, 4, send)
		if statuses[http.StatusOK] != 2000 {
			t.Errorf("%s: %v", what, statuses)
		}
		// A request that waits for Redis would take at least 100 ms.
		if before, during := quantile(calm, 0.99), quantile(times, 0.99); during > 10*before+50*time.Millisecond {
			t.Errorf("%s: p99 %s, before %s", what, during, before)
		}
		signIn(t, g.HTTP)
	}
	redis.Hang()
	check("hung")
	redis.Resume()
	redis.Wipe()
	check("wiped")
	redis.Stop()
	check("stopped")
}

// A gateway that starts before the services polls them without success for a while. That must not open a breaker,
// which would delay the first client.
func TestPollsOpenNoBreaker(t *testing.T) {
	g := gateway{}.start(t)
	backingtest.Eventually(t, 30*time.Second, func() error {
		if n := strings.Count(g.Logs(), "a health check has failed"); n < 20 {
			servicetest.Call(t, "GET", g.Ops+"/readyz", "")
			return fmt.Errorf("%d probes have failed, want 20", n)
		}
		return nil
	})
	for _, service := range []string{"user-service", "order-service", "notification-service"} {
		if state := metric(t, g.Ops, `gateway_breaker_state{service="`+service+`"}`); state != 0 {
			t.Errorf("the breaker of %s is in state %v", service, state)
		}
	}
	if age := metric(t, g.Ops, "gateway_revocations_age_seconds"); age < 5 {
		t.Errorf("the age of the revocations is %v s although user-service is unavailable", age)
	}
}
