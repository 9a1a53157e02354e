package renewal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform.example/apps/internal/apiserver"
)

// newAuthority returns an authority that expires at end, and its PEM file.
func newAuthority(t *testing.T, end time.Time) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority " + end.String()}, NotBefore: end.Add(-1000 * time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})...)
	authority, err := tls.X509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return authority, file
}

const (
	path     = "/api/v1/namespaces/data/secrets/postgres-certificate"
	host     = "postgres.data.svc"
	duration = 30 * time.Minute
)

func orders() Orders {
	return Orders{DurationSeconds: int(duration.Seconds()), Certificates: []Certificate{{path, []string{host}}}}
}

// secrets is an API server with one Secret. If busy, the Secret is changed concurrently.
type secrets struct {
	data map[string][]byte
	busy bool
}

func (s *secrets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Authorization") != "Bearer token":
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path != path || s.data == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]string{"resourceVersion": "7"}, "data": s.data})
	default:
		var patch []struct {
			Op, Path string
			Value    json.RawMessage
		}
		err := json.NewDecoder(r.Body).Decode(&patch)
		if err != nil || s.busy || patch[0].Op != "test" || string(patch[0].Value) != `"7"` {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		for _, add := range patch[1:] {
			var value []byte
			_ = json.Unmarshal(add.Value, &value)
			s.data[strings.TrimPrefix(add.Path, "/data/")] = value
		}
	}
}

func TestRenew(t *testing.T) {
	now := time.Now()
	authority, _ := newAuthority(t, now.Add(100*time.Hour))
	next, _ := newAuthority(t, now.Add(101*time.Hour))
	short, _ := newAuthority(t, now.Add(5*time.Minute))
	past, _ := newAuthority(t, now.Add(-time.Minute))
	for _, c := range []struct {
		name         string
		authority    tls.Certificate // that renews
		left         time.Duration   // of the certificate that is served
		spoil        func(*secrets)
		output, want string // printed, and the error
		renewed      bool
	}{
		{name: "a fresh one stays", authority: authority, left: duration},
		{name: "a third is left", authority: authority, left: duration/3 + time.Second},
		{name: "less than a third is left", authority: authority, left: duration/3 - time.Second, renewed: true, output: "it expires at"},
		{name: "it lasts too long", authority: authority, left: 2 * duration, renewed: true, output: "it lasts longer than 30m0s"},
		{name: "it has expired", authority: authority, left: -time.Hour, renewed: true, output: "it expires at"},
		{name: "the authority was rotated", authority: next, left: duration, renewed: true, output: "another authority has signed it"},
		{name: "the authority ends no later", authority: short, left: 5 * time.Minute},
		{name: "the authority has expired", authority: past, left: duration, want: "the authority has expired at"},
		{name: "it is for another host", authority: authority, left: duration, renewed: true, output: "it is for [other.data.svc]",
			spoil: func(s *secrets) {
				s.data[certificateKey], s.data[privateKey], _ = Renewer{Authority: authority}.issue([]string{"other.data.svc"}, now, now.Add(duration))
			}},
		{name: "it is garbage", authority: authority, left: duration, renewed: true, output: "it can't be used",
			spoil: func(s *secrets) { s.data[certificateKey] = []byte("garbage") }},
		{name: "the Secret doesn't exist", authority: authority, left: duration, want: "renew " + path + ": the Secret doesn't exist",
			spoil: func(s *secrets) { s.data = nil }},
		{name: "the Secret changes at the same time", authority: authority, left: -time.Hour, want: "was changed at the same time",
			spoil: func(s *secrets) { s.busy = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			signer := authority
			if c.authority.Leaf == short.Leaf {
				signer = short
			}
			before, key, err := Renewer{Authority: signer}.issue([]string{host}, now, now.Add(c.left))
			if err != nil {
				t.Fatal(err)
			}
			held := &secrets{data: map[string][]byte{certificateKey: before, privateKey: key}}
			if c.spoil != nil {
				c.spoil(held)
			}
			server := httptest.NewServer(held)
			defer server.Close()
			api := apiserver.Client{URL: server.URL, HTTP: server.Client(), Token: func() ([]byte, error) { return []byte("token\n"), nil }}
			var output strings.Builder
			err = Renewer{api, c.authority}.Renew(t.Context(), orders(), now, &output)
			if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want %q", err, c.want)
			}
			if !strings.Contains(output.String(), c.output) || (output.Len() > 0) != c.renewed {
				t.Errorf("it prints %q, want %q", &output, c.output)
			}
			if !c.renewed {
				return
			}
			pair, err := tls.X509KeyPair(held.data[certificateKey], held.data[privateKey])
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(c.authority.Leaf)
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now}); err != nil {
				t.Error(err)
			}
			if left := pair.Leaf.NotAfter.Sub(now); left < duration-2*time.Second || left > duration {
				t.Errorf("it lasts %s, want %s", left, duration)
			}
			if bytes.Equal(held.data[privateKey], key) {
				t.Error("the key is the former one")
			}
		})
	}
}

func TestFirstAuthorityOfFileSigns(t *testing.T) {
	_, first := newAuthority(t, time.Now().Add(time.Hour))
	_, second := newAuthority(t, time.Now().Add(2*time.Hour))
	alone, _, _ := bytes.Cut(first, []byte("-----BEGIN PRIVATE"))
	for _, c := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"two", append(bytes.Clone(first), second...), ""},
		{"a certificate alone", alone, "followed by its key"},
		{"nothing", nil, "holds no certificate"},
	} {
		file := filepath.Join(t.TempDir(), "authority.pem")
		if err := os.WriteFile(file, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readAuthority(file)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		} else if err == nil && time.Until(got.Leaf.NotAfter) > time.Hour {
			t.Errorf("%s: the second signs", c.name)
		}
	}
	const key = "-----BEGIN PRIVATE KEY-----" // in place of a path
	if _, err := readAuthority(key); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("a missing file is accepted, or the error quotes the value: %v", err)
	}
}
