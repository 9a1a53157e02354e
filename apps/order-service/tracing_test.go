package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/servicetest"
)

// receiver receives the spans that a service exports.
type receiver struct {
	mu    sync.Mutex
	spans []*tracepb.Span
}

func (r *receiver) ServeHTTP(_ http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	data := &tracepb.TracesData{}
	_ = proto.Unmarshal(body, data)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
}

// A trace contains the statements of an order in Postgres. The span of the batch that published its event has a link
// to it.
func TestOrderIsTracedAcrossTheOutbox(t *testing.T) {
	w := newWorld(t)
	received := &receiver{}
	collector := httptest.NewServer(received)
	defer collector.Close()
	s := servicetest.Start(t, name, commands(), servicetest.Env(w.env, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}))
	placed := place(t, s.HTTP, alice)
	client := w.stream.Client()
	defer func() { _ = client.Close() }()
	backingtest.Eventually(t, 30*time.Second, func() error { return published(t, s.Ops) })
	if len(eventsOf(t, client)[placed.ID]) != 1 {
		t.Error("the event isn't published")
	}
	if err := s.Stop(); err != nil { // which exports the rest
		t.Fatal(err)
	}

	spans := received.spans
	find := func(what string, matches func(*tracepb.Span) bool) *tracepb.Span {
		t.Helper()
		i := slices.IndexFunc(spans, matches)
		if i < 0 {
			t.Fatalf("no span of %s among %v", what, spans)
		}
		return spans[i]
	}
	request := find("the request", func(s *tracepb.Span) bool { return s.GetName() == "POST /orders" })
	find("a statement of the request", func(s *tracepb.Span) bool {
		return s.GetName() == "INSERT" && bytes.Equal(s.GetTraceId(), request.GetTraceId())
	})
	batch := find("the batch", func(s *tracepb.Span) bool { return s.GetName() == "publish orders:events" })
	if links := batch.GetLinks(); len(links) != 1 || !bytes.Equal(links[0].GetSpanId(), request.GetSpanId()) ||
		!bytes.Equal(links[0].GetTraceId(), request.GetTraceId()) {
		t.Errorf("the batch %v isn't linked to the request %v", batch, request)
	}
	find("the script of the batch", func(s *tracepb.Span) bool {
		return strings.HasPrefix(s.GetName(), "eval") && bytes.Equal(s.GetParentSpanId(), batch.GetSpanId())
	})
	find("the note of the batch", func(s *tracepb.Span) bool {
		return s.GetName() == "UPDATE" && bytes.Equal(s.GetTraceId(), batch.GetTraceId())
	})
	for _, span := range spans {
		if len(span.GetParentSpanId()) == 0 && !bytes.Equal(span.GetSpanId(), request.GetSpanId()) && !bytes.Equal(span.GetSpanId(), batch.GetSpanId()) {
			t.Errorf("a span outside of the request: %v", span)
		}
		if text := span.String(); strings.Contains(text, placed.ID) || strings.Contains(text, placed.UserID) {
			t.Errorf("a span contains data of a statement: %s", text)
		}
	}
}
