package retire

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/apps/internal/apiserver"
)

// cluster responds to each path with these statuses, the last one repeatedly, and records the accepted patches.
type cluster struct {
	mutex     sync.Mutex
	responses map[string][]int
	holders   []string // of the lock, by request; none after that
	patched   []string
}

func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if r.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path == "/lease" {
		holder := ""
		if len(c.holders) > 0 {
			holder, c.holders = c.holders[0], c.holders[1:]
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"spec": map[string]any{"holderIdentity": holder}})
		return
	}
	status := http.StatusOK
	if statuses := c.responses[r.URL.Path]; len(statuses) > 0 {
		status = statuses[0]
		c.responses[r.URL.Path] = statuses[min(1, len(statuses)-1):]
	}
	if patch, _ := io.ReadAll(r.Body); status == http.StatusOK && r.Header.Get("Content-Type") == "application/json-patch+json" {
		c.patched = append(c.patched, r.URL.Path+" "+string(patch))
	}
	w.WriteHeader(status)
}

func TestRetire(t *testing.T) {
	const orders = `{"lease": "/lease", "services": [
		{"at": "2026-03-01T12:00:00Z", "patches": [{"path": "/live", "patch": [1]}, {"path": "/old", "patch": [2]}]},
		{"at": "2026-03-01T12:00:00Z", "patches": [{"path": "/other", "patch": [3]}]}
	]}`
	all := []string{"/live [1]", "/old [2]", "/other [3]"}
	for _, c := range []struct {
		name    string
		cluster *cluster
		patched []string
		output  string
	}{
		{"when its time is over", &cluster{}, all, "retire: 1 of 2: retired\nretire: 2 of 2: retired\n"},
		{"from the beginning where the API server refuses", &cluster{responses: map[string][]int{"/old": {503, 200}}},
			[]string{"/live [1]", "/live [1]", "/old [2]", "/other [3]"}, "PATCH /old: 503 Service Unavailable: trying again"},
		{"what isn't gone already", &cluster{responses: map[string][]int{"/old": {404}}}, []string{"/live [1]", "/other [3]"}, "1 of 2: retired"},
		{"nothing where something else was released", &cluster{responses: map[string][]int{"/live": {422}}}, []string{"/other [3]"},
			"1 of 2: another release has changed it since"},
		{"once a release has ended", &cluster{holders: []string{"maria", "maria"}}, all, "maria is running a release: trying again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(c.cluster)
			defer server.Close()
			var due Orders
			if err := json.Unmarshal([]byte(orders), &due); err != nil {
				t.Fatal(err)
			}
			due.Services[0].At = time.Now().Add(20 * time.Millisecond)
			api := Retirer{
				apiserver.Client{URL: server.URL, HTTP: server.Client(), Token: func() ([]byte, error) { return []byte("secret\n"), nil }},
				10 * time.Millisecond,
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var output strings.Builder
			err := api.Retire(ctx, due, &output)
			if err != nil || !slices.Equal(c.cluster.patched, c.patched) || !strings.Contains(output.String(), c.output) {
				t.Errorf("%v: it patches %v, want %v; it prints %s, want %s", err, c.cluster.patched, c.patched, &output, c.output)
			}
		})
	}
}

func TestRetireEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Retirer{}).Retire(ctx, Orders{Services: []Order{{At: time.Now().Add(time.Hour)}}}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
}
