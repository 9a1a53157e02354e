package backingtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The authority of this process signs the certificates of all servers in it.
var ours = sync.OnceValues(newAuthority)

func newAuthority() (tls.Certificate, error) {
	certificate, key, err := sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: "authority of a test"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}, nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair([]byte(certificate), []byte(key))
}

// sign returns a certificate and its key in PEM. Without an authority it signs itself.
func sign(template *x509.Certificate, authority *tls.Certificate) (certificate, key string, err error) {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := template, crypto.PrivateKey(made)
	if authority != nil {
		parent, signer = authority.Leaf, authority.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &made.PublicKey, signer)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(made)
	return inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", encoded), err
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Authority is the certificate, in PEM, of who signs those of the servers.
func Authority(t testing.TB) string {
	t.Helper()
	a, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", a.Leaf.Raw)
}

// OtherAuthority is the certificate, in PEM, of one who has signed nothing.
func OtherAuthority(t testing.TB) string {
	t.Helper()
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return inPEM("CERTIFICATE", a.Leaf.Raw)
}

// files are where a server finds its certificate and its key, and a client who signs.
type files struct{ certificate, key, authority string }

// certify writes a server's files to dir, for localhost and 127.0.0.1 and for the account that it runs as.
func certify(t testing.TB, dir string, as *syscall.Credential) files {
	t.Helper()
	a, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "server of a test"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &a)
	if err != nil {
		t.Fatal(err)
	}
	f := files{filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), filepath.Join(dir, "authority.crt")}
	for path, content := range map[string]string{f.certificate: certificate, f.key: key, f.authority: Authority(t)} {
		err := os.WriteFile(path, []byte(content), 0o600)
		if err == nil && as != nil {
			err = os.Chown(path, int(as.Uid), int(as.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}
