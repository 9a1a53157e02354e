package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// duration is the validity of certificates in these tests.
const duration = 90 * 24 * time.Hour

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
	pair, err := Issue(authorities, hosts, duration, now)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// handshake connects a client that trusts the authorities to a server with the certificate.
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
		{"signed by the trusted authority", first, first, "postgres.data.svc", ""},
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
			t.Errorf("%s is accepted as an authority", name)
		}
	}
}

func TestOutdated(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	first, second := newAuthority(t), newAuthority(t)
	ending, err := NewAuthority(now.Add(-authorityLife + 30*day))
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"a.example", "b.example"}
	pair := issue(t, first, now, hosts...)
	public, key, _ := Split(pair)
	_, otherKey, _ := Split(issue(t, first, now, hosts...))
	tests := []struct {
		name, pair  string
		hosts       []string
		authorities string
		now         time.Time
		want        string
	}{
		{"fresh", pair, hosts, first + second, now, ""},
		{"a third is left", pair, hosts, first, now.Add(duration*2/3 - day), ""},
		{"less than a third is left", pair, hosts, first, now.Add(duration*2/3 + day), "expires at " + now.Add(duration).UTC().Format(time.RFC3339)},
		{"it has expired", pair, hosts, first, now.Add(duration + day), "expires at "},
		{"it lasts longer than it should", pair, hosts, first, now.Add(-day), "is valid for longer than 2160h0m0s"},
		{"no key", public, hosts, first, now, "want one certificate and its key"},
		{"the wrong way round", key + public, hosts, first, now, "want one certificate and its key"},
		{"another certificate's key", public + otherKey, hosts, first, now, "the key doesn't match the certificate"},
		{"no longer than its authority", issue(t, ending, now, hosts...), hosts, ending, now, ""},
		{"of the authority before", pair, hosts, second + first, now, "is not signed by the authority in use"},
		{"of a stranger", pair, hosts, second, now, "is not signed by the authority in use"},
		{"for a host more", pair, hosts[:1], first, now, "is valid for a.example, b.example, not for a.example"},
		{"for a host less", pair, append(hosts[:2:2], "c.example"), first, now, "is valid for a.example, b.example, not for"},
		{"no certificate", "oops", hosts, first, now, "want one certificate and its key"},
		{"no authority", pair, hosts, "oops", now, "each followed by its key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Outdated(test.pair, test.authorities, test.hosts, duration, test.now)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			current, failed := Current(test.pair, test.authorities, test.hosts, duration, test.now)
			if test.authorities == "oops" {
				return
			}
			if failed != nil || (current == test.pair) != (test.want == "") || Outdated(current, test.authorities, test.hosts, duration, test.now) != nil {
				t.Errorf("the current one is the former: %v, %v", current == test.pair, failed)
			}
		})
	}
}

func TestCertificateExpiresWithItsAuthority(t *testing.T) {
	now := time.Now()
	authority, err := NewAuthority(now.Add(-authorityLife + 24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	end, err := NotAfter(authority + newAuthority(t))
	if err != nil || end.Sub(now) > 24*time.Hour || end.Sub(now) < 23*time.Hour {
		t.Errorf("the authority ends on %v, %v", end, err)
	}
	if got, err := NotAfter(issue(t, authority, now, "a.example")); err != nil || !got.Equal(end) {
		t.Errorf("what it signs ends on %v, %v; want %v", got, err, end)
	}
	if _, err := Issue(authority, []string{"a.example"}, duration, now.Add(48*time.Hour)); err == nil || !strings.Contains(err.Error(), "expired on") {
		t.Errorf("signing after its end: %v", err)
	}
	if _, err := Issue(authority, nil, duration, now); err == nil {
		t.Error("a certificate without hosts is issued")
	}
	for name, wrong := range map[string]string{"nothing": "", "a password": "abc", "a key": text(keyBlock, []byte("x")), "no certificate": text(certificateBlock, nil)} {
		if _, err := NotAfter(wrong); err == nil {
			t.Errorf("%s has an end", name)
		}
	}
}

func TestAuthoritiesOfOneDayHaveDifferentNames(t *testing.T) {
	names := map[string]bool{}
	for range 3 {
		certificate, _, err := parse(newAuthority(t))
		if err != nil {
			t.Fatal(err)
		}
		names[certificate.Subject.String()] = true
	}
	if len(names) != 3 {
		t.Errorf("their names are %v", names)
	}
}

// FuzzRead: a parsed value parses the same again, nothing panics, and no error contains a key.
func FuzzRead(f *testing.F) {
	first, second := newAuthority(f), newAuthority(f)
	pair := issue(f, first, time.Now(), "a.example")
	for _, seed := range []string{"", "oops", pair, pair[:len(pair)/2], first + second, first + "\r\n" + second + pair, second[len(second)/2:] + first} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		all, err := Authorities(value)
		quotesNothing(t, err)
		if err == nil {
			again, err := Authorities(strings.Join(all, ""))
			if err != nil || !slices.Equal(all, again) {
				t.Errorf("%d authorities are read as %d, %v", len(all), len(again), err)
			}
			bundle, err := Bundle(value)
			if err != nil || strings.Count(bundle, "BEGIN CERTIFICATE") != len(all) || strings.Contains(bundle, "PRIVATE") {
				t.Errorf("the bundle of %d authorities: %v", len(all), err)
			}
		}
		certificate, key, err := Split(value)
		quotesNothing(t, err)
		if err == nil {
			if c, k, err := Split(certificate + key); err != nil || c != certificate || k != key {
				t.Errorf("what is split doesn't split the same again: %v", err)
			}
		}
		quotesNothing(t, Outdated(value, first, []string{"a.example"}, duration, time.Now()))
		_, err = NotAfter(value)
		quotesNothing(t, err)
	})
}

func quotesNothing(t *testing.T, err error) {
	t.Helper()
	if err != nil && (strings.Contains(err.Error(), "PRIVATE") || len(err.Error()) > 500) {
		t.Errorf("quotes what is stored: %v", err)
	}
}
