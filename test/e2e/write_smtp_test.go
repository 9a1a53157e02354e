package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/test/kit"
)

const (
	mailUser    = "platform"
	mailFrom    = "no-reply@shop.example"
	accountPage = "https://app.example.com/account"
)

// mailServer is a mail server that requires STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954).
type mailServer struct {
	address, password string
	secured           *tls.Config

	mu      sync.Mutex
	busy    map[string]bool // recipients who are refused once
	refused int
	mails   []received
}

// received is an email that the server has accepted, and that a test may have taken.
type received struct {
	from, to, subject, body string
	taken                   bool
}

func startMailServer(t *testing.T, trusted authority) *mailServer {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(internet, "587"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := &mailServer{address: listener.Addr().String(), password: rand.Text(), secured: trusted.issue(t), busy: map[string]bool{}}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(connection)
		}
	}()
	return s
}

// serve handles the commands of a client until it quits.
func (s *mailServer) serve(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	text := textproto.NewConn(connection)
	reply := func(lines ...string) {
		for _, line := range lines {
			_ = text.PrintfLine("%s", line)
		}
	}
	credentials := "PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+mailUser+"\x00"+s.password))
	secure, known := false, false
	var from, to string
	reply("220 mail.example ESMTP")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		command, argument, _ := strings.Cut(line, " ")
		switch command = strings.ToUpper(command); {
		case command == "EHLO" && secure:
			reply("250-mail.example", "250 AUTH PLAIN")
		case command == "EHLO":
			reply("250-mail.example", "250 STARTTLS")
		case command == "STARTTLS" && !secure:
			reply("220 go ahead")
			connection = tls.Server(connection, s.secured)
			text, secure = textproto.NewConn(connection), true
		case command == "AUTH" && secure && argument == credentials:
			known = true
			reply("235 welcome")
		case command == "AUTH":
			reply("535 wrong user or password")
		case command == "NOOP":
			reply("250 here")
		case command == "RSET":
			from, to = "", ""
			reply("250 forgotten")
		case command == "QUIT":
			reply("221 bye")
			return
		case !known:
			reply("530 sign in first")
		case command == "MAIL":
			from = inAngles(argument)
			reply("250 go on")
		case command == "RCPT" && s.refuses(inAngles(argument)):
			reply("451 come again")
		case command == "RCPT":
			to = inAngles(argument)
			reply("250 go on")
		case command == "DATA" && to != "":
			reply("354 go on")
			content, err := text.ReadDotBytes()
			if err != nil || s.keep(from, to, content) != nil {
				reply("554 unreadable")
				continue
			}
			reply("250 accepted")
		default:
			reply("503 not now")
		}
	}
}

// inAngles returns the address in an argument such as TO:<a@example.com>.
func inAngles(argument string) string {
	_, address, _ := strings.Cut(argument, "<")
	address, _, _ = strings.Cut(address, ">")
	return address
}

func (s *mailServer) keep(from, to string, content []byte) error {
	message, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(quotedprintable.NewReader(message.Body))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, received{from: from, to: to, subject: message.Header.Get("Subject"), body: string(body)})
	return nil
}

// refuse makes the server refuse the next email to an address for now.
func (s *mailServer) refuse(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[address] = true
}

func (s *mailServer) refuses(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy[address] {
		return false
	}
	delete(s.busy, address)
	s.refused++
	return true
}

var link = regexp.MustCompile(regexp.QuoteMeta(accountPage) + `#(?:confirm|reset)=([A-Z2-7]+)\s`)

// takes waits for an email with that subject to the address, which no test has taken yet, and returns the secret in its link, if it has
// one.
func (s *mailServer) takes(t *testing.T, address, subject string) (secret string) {
	t.Helper()
	// Longer than the two minutes after which an email is sent again, with the time of an update.
	kit.Eventually(t, 5*time.Minute, fmt.Sprintf("an email %q", subject), func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, m := range s.mails {
			if m.taken || m.to != address || m.subject != subject {
				continue
			}
			s.mails[i].taken = true
			if m.from != mailFrom {
				t.Errorf("the sender is %q, want %q", m.from, mailFrom)
			}
			if found := link.FindStringSubmatch(m.body); found != nil {
				secret = found[1]
			}
			return nil
		}
		return fmt.Errorf("no email to %s", address)
	})
	return secret
}

// count returns the number of emails with that subject to the address.
func (s *mailServer) count(address, subject string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.mails {
		if m.to == address && m.subject == subject {
			n++
		}
	}
	return n
}

func requestReset(t *testing.T, email string) {
	t.Helper()
	kit.Gateway().MustCall(t, http.StatusAccepted, http.MethodPost, "/api/auth/password-reset", "", map[string]string{"email": email})
}

// givePassword resets the password of a user by email, and returns the user with the new password.
func (s *mailServer) givePassword(t *testing.T, email string) kit.User {
	t.Helper()
	requestReset(t, email)
	user := kit.User{Email: email, Password: rand.Text()}
	kit.Gateway().MustCall(t, http.StatusNoContent, http.MethodPost, "/api/auth/password", "",
		map[string]string{"token": s.takes(t, email, "Reset your password"), "password": user.Password})
	return user
}

// testLinksInEmails confirms an email and resets a password with the links that arrive.
func testLinksInEmails(t *testing.T, s *mailServer) {
	api := kit.Gateway()
	user := kit.User{Email: "e2e-" + strings.ToLower(rand.Text()) + "@platform.example", Password: rand.Text()}
	api.MustCall(t, http.StatusCreated, http.MethodPost, "/api/users", "", map[string]string{"email": user.Email, "name": "A", "password": user.Password})
	confirmation := s.takes(t, user.Email, "Confirm your email address")
	api.MustCall(t, http.StatusNoContent, http.MethodPost, "/api/auth/email", "", map[string]string{"token": confirmation})
	requestReset(t, user.Email)
	former := user
	user.Password = rand.Text()
	reset := map[string]string{"token": s.takes(t, user.Email, "Reset your password"), "password": user.Password}
	api.MustCall(t, http.StatusNoContent, http.MethodPost, "/api/auth/password", "", reset)
	api.MustCall(t, http.StatusUnprocessableEntity, http.MethodPost, "/api/auth/password", "", reset) // the link is used up
	s.takes(t, user.Email, "Your password has changed")
	if _, err := api.SignIn(former); err == nil {
		t.Error("the former password is accepted")
	}
	token := api.MustSignIn(t, user)
	api.MustCall(t, http.StatusNoContent, http.MethodDelete, "/api/users/me", token, map[string]string{"current_password": user.Password})
}

// testRetriedEmail waits for the reset of a user whose email the server refused for now.
func testRetriedEmail(t *testing.T, s *mailServer, user kit.User) {
	const subject = "Reset your password"
	if secret := s.takes(t, user.Email, subject); secret == "" {
		t.Error("the email has no link")
	}
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	if n := s.count(user.Email, subject); refused != 1 || n != 1 {
		t.Errorf("the server refused %d emails and accepted %d, want 1 and 1", refused, n)
	}
}

// testSinkIsUnused reads the emails that a platform without a mail server stores. The live pods have no such page, and the pods of the
// standby version have none of the server's emails.
func testSinkIsUnused(t *testing.T, s *mailServer) {
	pods, err := kit.Pods("notification-service")
	if err != nil {
		t.Fatal(err)
	}
	live := kit.LiveDeployment(t, "notification-service")
	for _, pod := range pods {
		printed, err := kit.Run("kubectl", "get", "--raw", "/api/v1/namespaces/apps/pods/"+pod.Metadata.Name+":9090/proxy/mails")
		if strings.HasPrefix(pod.Metadata.Name, live+"-") && (err == nil || !strings.Contains(err.Error(), "NotFound")) {
			t.Errorf("the page of stored emails of the live pod %s returns %q (%v), want 404", pod.Metadata.Name, printed, err)
		}
		s.mu.Lock()
		for _, m := range s.mails {
			if strings.Contains(printed, m.to) {
				t.Errorf("%s stores an email to %s", pod.Metadata.Name, m.to)
			}
		}
		s.mu.Unlock()
	}
}
