package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
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
	Parsed(e, "ADDR", HostPorts)
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
  - ADDR must be host:port, or several separated by commas
  - EMPTY is required and not set
  - MISSING is required and not set
  - TLS is "yes": allowed are true, false`)
	if err := e.Err(); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Errors don't contain values that may contain a password or a token.
func TestErrorsContainNoSecret(t *testing.T) {
	const secret = "hunter2"
	read := map[string]func(*Env, string){
		"HostPorts": func(e *Env, name string) { Parsed(e, name, HostPorts) },
		"Host":      func(e *Env, name string) { Parsed(e, name, Host) },
		"HTTPURL":   func(e *Env, name string) { Parsed(e, name, HTTPURL) },
		"endpoint":  func(e *Env, _ string) { ReadService(e, "a-service") },
		"PEM texts": func(e *Env, name string) { Parsed(e, name, Certificates) },
	}
	for _, value := range []string{
		"redis://user:" + secret + "@host:6379", "user:" + secret + "@host:6379", secret + "@host:6379", "smtp://user:" + secret + "@host",
		"postgres://user:" + secret + "@host/db", "http://user:" + secret + "@host:port", "http://user:" + secret + "%zz@host",
		"https://host/\x00?token=" + secret, "Bearer " + secret, "authorization=Bearer%zz" + secret,
	} {
		for form, fault := range read {
			name := map[bool]string{true: "OTEL_EXPORTER_OTLP_ENDPOINT", false: "ADDRESS"}[form == "endpoint"]
			e := env(map[string]string{name: value})
			if fault(e, name); e.Err() == nil || strings.Contains(e.Err().Error(), secret) || !strings.Contains(e.Err().Error(), "- "+name+" ") {
				t.Errorf("%s of %q: %v", form, value, e.Err())
			}
		}
	}
	for _, value := range []string{"Bearer " + secret, "authorization=Bearer%zz" + secret, "a=b," + secret} {
		e := env(map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": value})
		if ReadService(e, "a-service"); e.Err() == nil || strings.Contains(e.Err().Error(), secret) || !strings.Contains(e.Err().Error(), "OTEL_EXPORTER_OTLP_HEADERS must be") {
			t.Errorf("headers %q: %v", value, e.Err())
		}
	}
	e := env(map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20" + secret + ", x-tenant=a"})
	if ReadService(e, "a-service"); e.Err() != nil {
		t.Error(e.Err())
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

// An accepted value is usable. The error for a refused value doesn't contain it if it may be secret.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{"", ":8080", "host:1", "[::1]:80", "a@b:1", "http://h:1/p", "https://u:p@h", "http://h?q", "http://h#f", "5s", "-1", "99999999999999999999", "true", "debug",
		"a=b,c=%20d", "a", "=", "%zz", "redis://user:hunter2@host:6379", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		secret := func(form string, err error) {
			if err != nil && len(raw) > 20 && strings.Contains(err.Error(), raw) {
				t.Errorf("%s quotes %q: %v", form, raw, err)
			}
		}
		_, err := Host(raw)
		secret("Host", err)
		all, err := HostPorts(raw)
		secret("HostPorts", err)
		for _, at := range all {
			if host, port, err := net.SplitHostPort(at); err != nil || host == "" || port == "" || strings.Contains(host, "@") {
				t.Errorf("HostPorts accepts %q", raw)
			}
		}
		if u, err := HTTPURL(raw); err == nil {
			if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
				t.Errorf("HTTPURL accepts %q", raw)
			}
		} else {
			secret("HTTPURL", err)
		}
		if n, err := Int(1, 100)(raw); err == nil && (n < 1 || n > 100) {
			t.Errorf("Int accepts %q", raw)
		}
		if d, err := Duration(time.Second, time.Minute)(raw); err == nil && (d < time.Second || d > time.Minute) {
			t.Errorf("Duration accepts %q", raw)
		}
		if at, err := ListenAddr(raw); err == nil {
			if _, _, err := net.SplitHostPort(at); err != nil {
				t.Errorf("ListenAddr accepts %q", raw)
			}
		}
		_, err = otlpHeaders(raw)
		secret("otlpHeaders", err)
		if _, err = Certificates(raw); err == nil && !strings.Contains(raw, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("Certificates accepts %q", raw)
		}
		secret("Certificates", err)
	})
}
