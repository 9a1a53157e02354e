package main

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

func TestWhoWantsToHearOfAReleaseIsTold(t *testing.T) {
	got := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got[r.URL.Path], _ = io.ReadAll(r.Body)
		if kind := r.Header.Get("Content-Type"); r.Method != http.MethodPost || kind != "application/json" {
			t.Errorf("it is told by %s of %s", r.Method, kind)
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
		t.Errorf("Slack is told %q (%v)", slack.Text, err)
	}
	var webhook struct {
		Event, Stack, Text, By string
		Services               []struct{ Service, From, To, FromColour, ToColour string }
	}
	if err := json.Unmarshal(got["/webhook"], &webhook); err != nil || webhook.Event != "switch" || webhook.Stack != "production" ||
		webhook.Text != text || webhook.By != "maria@desk" || len(webhook.Services) != 1 {
		t.Fatalf("the webhook is told %+v (%v)", webhook, err)
	}
	if shop := webhook.Services[0]; shop.Service != "shop" || shop.From != "v1" || shop.To != "v2" || shop.FromColour != "blue" || shop.ToColour != "green" {
		t.Errorf("of the service it is told %+v", shop)
	}
	if out.Len() != 0 {
		t.Errorf("people read %q", &out)
	}
}

// The addresses of hooks are secrets.
func TestAHookThatCannotBeToldHarmsNothingAndIsNotNamed(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for address, want := range map[string]string{
		refusing.URL + "/s3cret":      "Slack can't be told: it answers 403 Forbidden",
		gone.URL + "/s3cret":          "Slack can't be told: it doesn't answer",
		"https://s3cret example:port": "Slack can't be told: its address is none",
	} {
		var out bytes.Buffer
		s := &session{out: newProgress(&out, false), hooks: &hooks{slack: address}}
		s.notify(t.Context(), "start", "a release begins", nil)
		if said := out.String(); !strings.Contains(said, want) || strings.Contains(said, "s3cret") {
			t.Errorf("it says %q, want %q", said, want)
		}
	}
}
