package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func env(values map[string]string) *Env {
	return From(func(name string) (string, bool) { value, ok := values[name]; return value, ok })
}

func TestSecretIsNeverShown(t *testing.T) {
	const value = "hunter2hunter2"
	type holder struct {
		Open   Secret
		hidden Secret
	}
	s := NewSecret(value)
	h := holder{s, s}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", s, "holder", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", s, "holder", h)
	encoded, err := json.Marshal(map[string]any{"secret": s, "holder": h})
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(encoded) + fmt.Sprint(s, h, &h, []Secret{s})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		shown += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, h)
	}
	if strings.Contains(shown, value) || strings.Contains(shown, fmt.Sprintf("%x", value)) {
		t.Errorf("the secret is shown in %s", shown)
	}
	if got := fmt.Sprint(s); got != redacted {
		t.Errorf("prints %q", got)
	}
	if s.Reveal() != value || (Secret{}).Reveal() != "" {
		t.Error("Reveal doesn't return the value")
	}
}

func TestEveryFaultIsReportedOnce(t *testing.T) {
	e := env(map[string]string{"PORT": "99999", "DELAY": "soon", "COLOUR": "red", "URL": "ftp://x", "LISTEN": "8080", "ADDR": ":1", "EMPTY": "", "TLS": "yes"})
	Parsed(e, "PORT", Int(1, 65535))
	Parsed(e, "DELAY", Duration(0, time.Minute))
	Parsed(e, "COLOUR", OneOf("blue", "green"))
	Parsed(e, "URL", HTTPURL)
	Parsed(e, "LISTEN", ListenAddr)
	Parsed(e, "ADDR", HostPort)
	Parsed(e, "EMPTY", String)
	Parsed(e, "MISSING", SecretText)
	Parsed(e, "TLS", Bool)
	want := strings.TrimSpace(`
configuration has 9 fault(s):
  - PORT is "99999": must be a whole number from 1 to 65535
  - DELAY is "soon": must be a duration such as 5s, from 0s to 1m0s
  - COLOUR is "red": allowed are blue, green
  - URL must be a URL such as http://name:8080
  - LISTEN is "8080": must be an address to listen on, such as :8080
  - ADDR is ":1": must be host:port
  - EMPTY is required and not set
  - MISSING is required and not set
  - TLS is "yes": allowed are true, false`)
	if err := e.Err(); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestServiceDefaults(t *testing.T) {
	e := env(nil)
	got := ReadService(e, "a-service")
	want := Service{Name: "a-service", Version: "dev", Colour: "none", Environment: "local",
		HTTPAddr: ":8080", OpsAddr: ":9090", ShutdownDelay: 5 * time.Second}
	if err := e.Err(); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
