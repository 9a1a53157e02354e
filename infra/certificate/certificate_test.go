package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"
)

func newAuthority(t testing.TB) string {
	t.Helper()
	authority, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func issue(t testing.TB, authorities string, now time.Time, hosts ...string) string {
	t.Helper()
	pair, err := Issue(authorities, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// handshake is a client that trusts the authorities at a server with the certificate.
func handshake(t *testing.T, pair, authorities, host string) error {
	t.Helper()
	certificate, key, err := Split(pair)
	if err != nil {
		t.Fatal(err)
	}
	served, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := Bundle(authorities)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(bundle))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{served}}) //nolint:gosec // the client decides
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if connection, err := listener.Accept(); err == nil {
			_ = connection.(*tls.Conn).Handshake()
			_ = connection.Close()
		}
	}()
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", listener.Addr().String(),
		&tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12})
	if err == nil {
		_ = connection.Close()
	}
	return err
}

func TestHandshakes(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	tests := []struct {
		name, signers, trusted, host, want string
	}{
		{"signed by who is trusted", first, first, "postgres.data.svc", ""},
		{"trusting several, the old one too", first, second + first, "postgres.data.svc", ""},
		{"only the first of several signs", second + first, second, "postgres.data.svc", ""},
		{"by a stranger", second, first, "postgres.data.svc", "unknown authority"},
		{"for another host", first, first, "redis.data.svc", "not redis.data.svc"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := handshake(t, issue(t, test.signers, time.Now(), "postgres.data.svc"), test.trusted, test.host)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if err := handshake(t, issue(t, first, time.Now(), "localhost"), first, host); err != nil {
			t.Errorf("the machine itself as %s: %v", host, err)
		}
	}
}

func TestValid(t *testing.T) {
	authority := newAuthority(t)
	pair := issue(t, authority, time.Now(), "a.example", "b.example")
	hosts := []string{"a.example", "b.example"}
	year := 365 * 24 * time.Hour
	certificate, key, _ := Split(pair)
	_, otherKey, _ := Split(issue(t, authority, time.Now(), "a.example"))
	tests := []struct {
		name, pair string
		hosts      []string
		now        time.Time
		want       string
	}{
		{"as it should be", pair, hosts, time.Now(), ""},
		{"shortly before its end", pair, hosts, time.Now().Add(2 * year), ""},
		{"after its end", pair, hosts, time.Now().Add(3 * year), "has ended on"},
		{"for a host too few", pair, []string{"a.example", "c.example"}, time.Now(), "not c.example"},
		{"nothing", "", hosts, time.Now(), "want one certificate and its key"},
		{"no key", certificate, hosts, time.Now(), "want one certificate and its key"},
		{"the wrong way round", key + certificate, hosts, time.Now(), "want one certificate and its key"},
		{"somebody else's key", certificate + otherKey, hosts, time.Now(), "the key is not that of the certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Valid(test.pair, test.hosts, test.now)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if !SignedBy(pair, newAuthority(t)+authority) || SignedBy(pair, newAuthority(t)) {
		t.Error("who has signed is not known")
	}
}

func TestAuthoritiesKeepTheirOrder(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	got, err := Authorities(first + "\n" + second)
	if err != nil || len(got) != 2 || got[0] != first || got[1] != second {
		t.Errorf("%d authorities, %v", len(got), err)
	}
	bundle, err := Bundle(first + second)
	if err != nil || strings.Contains(bundle, "PRIVATE") || strings.Count(bundle, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("the bundle for who trusts: %v\n%s", err, bundle)
	}
	for name, wrong := range map[string]string{
		"nothing": "", "a password": "abc", "a server's certificate": issue(t, first, time.Now(), "a.example"),
		"a certificate without its key": bundle,
	} {
		if _, err := Authorities(wrong); err == nil {
			t.Errorf("%s is taken for an authority", name)
		}
	}
}

// FuzzSplit holds whatever is stored: no panic, and no error that quotes a key.
func FuzzSplit(f *testing.F) {
	pair := issue(f, newAuthority(f), time.Now(), "a.example")
	f.Add(pair)
	f.Add(pair[:len(pair)/2])
	f.Fuzz(func(t *testing.T, value string) {
		for _, err := range []error{
			Valid(value, []string{"a.example"}, time.Now()),
			func() error { _, err := Bundle(value); return err }(),
		} {
			if err != nil && strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("quotes a key: %v", err)
			}
		}
	})
}
