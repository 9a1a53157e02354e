package command

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"platform.example/infra/release/report"
)

func TestNotify(t *testing.T) {
	got := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got[r.URL.Path], _ = io.ReadAll(r.Body)
		if kind := r.Header.Get("Content-Type"); r.Method != http.MethodPost || kind != "application/json" {
			t.Errorf("request is %s with %s", r.Method, kind)
		}
	}))
	defer server.Close()
	var out bytes.Buffer
	s := &session{options: options{stack: "production"}, out: newProgress(&out, false), holder: "maria@desk",
		hooks: &hooks{slack: server.URL + "/slack", webhook: server.URL + "/webhook"}}
	s.notify(t.Context(), "switch", "the traffic has moved", []report.Service{{Name: "shop", FromVersion: "v1", ToVersion: "v2",
		FromColour: "blue", ToColour: "green"}})

	const text = "the traffic has moved: shop from v1 (blue) to v2 (green)"
	var slack struct{ Text string }
	if err := json.Unmarshal(got["/slack"], &slack); err != nil || slack.Text != "*production*: "+text+" (by maria@desk)" {
		t.Errorf("Slack gets %q (%v)", slack.Text, err)
	}
	var webhook struct {
		Event, Stack, Text, By string
		Services               []struct{ Service, From, To, FromColour, ToColour string }
	}
	if err := json.Unmarshal(got["/webhook"], &webhook); err != nil || webhook.Event != "switch" || webhook.Stack != "production" ||
		webhook.Text != text || webhook.By != "maria@desk" || len(webhook.Services) != 1 {
		t.Fatalf("the webhook gets %+v (%v)", webhook, err)
	}
	if shop := webhook.Services[0]; shop.Service != "shop" || shop.From != "v1" || shop.To != "v2" || shop.FromColour != "blue" || shop.ToColour != "green" {
		t.Errorf("the service is %+v", shop)
	}
	s.notify(t.Context(), "start", "a release begins", nil)
	if err := json.Unmarshal(got["/webhook"], &webhook); err != nil || webhook.Event != "start" || webhook.Text != "a release begins" || len(webhook.Services) != 0 {
		t.Errorf("at the start, the webhook gets %+v (%v)", webhook, err)
	}
	if out.Len() != 0 {
		t.Errorf("printed %q", &out)
	}
}

// The URLs of hooks are secrets.
func TestFailedNotificationDoesNotLogTheURL(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMultipleChoices) }))
	defer moved.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for address, want := range map[string]string{
		refusing.URL + "/s3cret":      "Slack can't be notified: it returns 403 Forbidden",
		moved.URL + "/s3cret":         "Slack can't be notified: it returns 300 Multiple Choices",
		gone.URL + "/s3cret":          "Slack can't be notified: it doesn't respond",
		"https://s3cret example:port": "Slack can't be notified: its URL is invalid",
	} {
		var out bytes.Buffer
		s := &session{out: newProgress(&out, false), hooks: &hooks{slack: address}}
		s.notify(t.Context(), "start", "a release begins", nil)
		if text := out.String(); !strings.Contains(text, want) || strings.Contains(text, "s3cret") {
			t.Errorf("printed %q, want %q", text, want)
		}
	}
}
