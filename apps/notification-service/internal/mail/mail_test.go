package mail

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/consumer"
	"platform.example/apps/internal/event"
)

// fakeServer is a mail server with implicit TLS that sends reply to RCPT.
type fakeServer struct {
	address  string
	reply    string
	received chan string // the commands and the data of each connection
}

func startServer(t *testing.T) *fakeServer {
	t.Helper()
	https := httptest.NewTLSServer(nil)
	t.Cleanup(https.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", authority) // the system's roots are read once per process
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := &fakeServer{address: listener.Addr().String(), reply: "250 OK", received: make(chan string, 10)}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			s.serve(connection)
		}
	}()
	return s
}

func (s *fakeServer) serve(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(10 * time.Second))
	var got strings.Builder
	defer func() { s.received <- got.String() }()
	lines := bufio.NewScanner(connection)
	_, _ = fmt.Fprint(connection, "220 ready\r\n")
	for data := false; lines.Scan(); {
		line := lines.Text()
		got.WriteString(line + "\n")
		response := "250 OK"
		switch command := strings.ToUpper(line); {
		case data && line != ".":
			continue
		case data:
			data = false
		case strings.HasPrefix(command, "EHLO"):
			response = "250-localhost\r\n250 AUTH PLAIN"
		case strings.HasPrefix(command, "AUTH"):
			response = "235 OK"
		case strings.HasPrefix(command, "RCPT"):
			response = s.reply
		case command == "DATA":
			data, response = true, "354 go on"
		case command == "QUIT":
			response = "221 bye"
		}
		_, _ = fmt.Fprint(connection, response+"\r\n")
	}
}

func TestSMTP(t *testing.T) {
	s := startServer(t)
	var log strings.Builder
	variables := map[string]string{"SMTP_SERVER": "smtps://platform@" + s.address, "SMTP_PASSWORD": "a password", "MAIL_FROM": "no-reply@example.com"}
	env := config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok })
	c := ReadConfig(env)
	if err := env.Err(); err != nil {
		t.Fatal(err)
	}
	send, err := NewSMTP(c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	m := Mail{To: "ada@example.com", Subject: "Hello", Body: "A line.\n", At: time.Now()}
	if err := send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := <-s.received
	for _, want := range []string{"MAIL FROM:<no-reply@example.com>", "RCPT TO:<ada@example.com>", "Subject: Hello", "A line.", "AUTH PLAIN "} {
		if !strings.Contains(got, want) {
			t.Errorf("the server lacks %q:\n%s", want, got)
		}
	}

	for reply, refused := range map[string]bool{"550 no such user": false, "450 come again": true, "554 no relay": false} {
		s.reply = reply
		err := send(t.Context(), m)
		if _, ok := errors.AsType[consumer.Refusal](err); ok != refused || !ok && err != nil {
			t.Errorf("%s: %v, refused: %t, want %t", reply, err, ok, refused)
		}
		<-s.received
	}
	for _, to := range []string{"a@example.com\r\nRCPT TO:<b@example.com>", "", "no address"} {
		if err := send(t.Context(), Mail{To: to, At: time.Now()}); err != nil {
			t.Errorf("%q: %v", to, err)
		}
	}
	if len(s.received) > 0 || strings.Count(log.String(), "dropped") != 5 || strings.Contains(log.String(), "@") {
		t.Errorf("an email is sent to no address, or the log is\n%s", log.String())
	}

	c.Server = &url.URL{Scheme: "smtps", Host: "127.0.0.1:1"}
	away, err := NewSMTP(c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	err = away(t.Context(), m)
	if _, ok := errors.AsType[consumer.Refusal](err); err == nil || ok {
		t.Errorf("while the server is unavailable: %v: the email must be retried", err)
	}
}

func TestSMTPRequiresTLS(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	s := &fakeServer{reply: "250 OK", received: make(chan string, 1)}
	go func() {
		if connection, err := listener.Accept(); err == nil {
			s.serve(connection)
		}
	}()
	send, err := NewSMTP(Config{Server: &url.URL{Scheme: "smtp", Host: listener.Addr().String()}, From: "a@example.com", Password: config.NewSecret("a password")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := send(t.Context(), Mail{To: "b@example.com", At: time.Now()}); err == nil {
		t.Error("an email is sent to a server without STARTTLS")
	}
	if got := <-s.received; strings.Contains(got, "AUTH") || strings.Contains(got, "MAIL") {
		t.Errorf("the server without STARTTLS got %s", got)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, raw := range []string{"smtp.example.com:587", "https://smtp.example.com:587", "smtp://smtp.example.com", "smtp://:587", "smtp://smtp.example.com:587/x", "smtp://a:\x00",
		"http://a:hunter2@smtp.example.com:587", "smtp://a:hunter2@smtp.example.com", "smtp://a:hunter2@smtp.example.com:587", "smtp://a:hunter2@:%zz"} {
		variables := map[string]string{"SMTP_SERVER": raw, "MAIL_FROM": "a@example.com"}
		env := config.From(func(name string) (string, bool) { value, ok := variables[name]; return value, ok })
		if ReadConfig(env); env.Err() == nil || strings.Contains(env.Err().Error(), "hunter2") {
			t.Errorf("%q: %v", raw, env.Err())
		}
	}
	env := config.From(func(name string) (string, bool) { return "smtp://smtp.example.com:587", name == "SMTP_SERVER" })
	if ReadConfig(env); env.Err() == nil || !strings.Contains(env.Err().Error(), "MAIL_FROM") {
		t.Errorf("without MAIL_FROM: %v", env.Err())
	}
}

func TestHandleRefusesInvalidEvents(t *testing.T) {
	handle := Handle(new(Sink).Send, nil)
	for name, data := range map[string]string{"nothing": "", "no user": "{}", "no email": `{"id":"` + uuid.NewString() + `"}`} {
		if _, err := handle(event.Event{Type: event.PasswordChanged, Data: []byte(data)}); err == nil {
			t.Errorf("%s is sent", name)
		}
	}
}

func TestEmailContainsCodeWithoutPage(t *testing.T) {
	sink := new(Sink)
	data := `{"id":"` + uuid.NewString() + `","email":"a@example.com","secret":"CODE"}`
	for range kept + 5 {
		effect, err := Handle(sink.Send, nil)(event.Event{Type: event.EmailToConfirm, OccurredAt: time.Now(), Data: []byte(data)})
		if err != nil {
			t.Fatal(err)
		}
		if err := effect(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(sink.mails) != kept || !strings.Contains(sink.mails[0].Body, "Your code: CODE\n") {
		t.Errorf("%d emails, of which the first is %+v", len(sink.mails), sink.mails[0])
	}
}

// An accepted address has a host and a port and no password. The error for a refused address doesn't contain it.
func FuzzServer(f *testing.F) {
	for _, seed := range []string{"", "smtp://user@smtp.example.com:587", "smtps://[::1]:465", "smtp://user:hunter2hunter2@smtp.example.com:587", "smtp://h:1/p", "smtp://h:99999", "smtp://:1", "smtp://%zz:1", "h:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := server(raw)
		if err != nil {
			if len(raw) > 20 && strings.Contains(err.Error(), raw) {
				t.Errorf("the error shows %q", raw)
			}
			return
		}
		if _, holds := u.User.Password(); holds || u.Hostname() == "" || u.Port() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
			t.Errorf("%q is accepted as %s", raw, u.Redacted())
		}
	})
}
