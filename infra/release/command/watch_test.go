package command

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/release/report"
)

// prometheusThat answers every query with 0. Each connection ends after that many queries, except for the last one.
func prometheusThat(endsAfter ...int32) forward {
	var connections atomic.Int32
	return func(ctx context.Context, ready func(int)) error {
		var left atomic.Int32
		left.Store(1 << 30)
		if i := int(connections.Add(1)) - 1; i < len(endsAfter) {
			left.Store(endsAfter[i])
		}
		if left.Load() == 0 {
			return errors.New("no pod is ready")
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if left.Add(-1) < 0 {
				panic(http.ErrAbortHandler) // closes the connection
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[0,"0"]}]}}`))
		})}
		go func() {
			<-ctx.Done()
			_ = server.Close()
		}()
		ready(listener.Addr().(*net.TCPAddr).Port)
		_ = server.Serve(listener)
		return nil
	}
}

// watching opens a watcher of a service that has just switched.
func watching(t *testing.T, prometheus forward, away time.Duration) (*watcher, []report.Service, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	service := catalog.Services()[0]
	w := &watcher{
		session: &session{out: newProgress(&out, false), services: map[string]catalog.Service{service.Name: service}},
		forward: prometheus, every: 5 * time.Millisecond, away: away,
	}
	if err := w.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w, []report.Service{{Name: service.Name, FromColour: "blue", ToColour: "green", Switched: time.Now()}}, &out
}

func TestWatchReconnects(t *testing.T) {
	w, moved, out := watching(t, prometheusThat(10, 0, 5), time.Minute) // lost during a check, then refused, then lost again
	found, err := w.watch(t.Context(), moved, 100*time.Millisecond)
	if err != nil || len(found) != 1 || !found.good() {
		t.Errorf("got %v (%v), want a good verdict", found, err)
	}
	if text := out.String(); strings.Count(text, "retrying") < 3 {
		t.Errorf("printed\n%s", text)
	}
}

func TestWatchFailsIfPrometheusStaysUnreachable(t *testing.T) {
	endings := make([]int32, 10_000)
	endings[0] = 10
	w, moved, _ := watching(t, prometheusThat(endings...), 100*time.Millisecond)
	if found, err := w.watch(t.Context(), moved, time.Millisecond*50); err == nil {
		t.Errorf("got %v without a measurement", found)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	w, moved, _ := watching(t, prometheusThat(10), time.Minute)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the lock was taken")
	time.AfterFunc(50*time.Millisecond, func() { cancel(lost) })
	if _, err := w.watch(ctx, moved, time.Minute); !errors.Is(err, lost) {
		t.Errorf("got %v, want %v", err, lost)
	}
}
