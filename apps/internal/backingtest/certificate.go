package backingtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// The authority of this process signs the certificates of all servers in it.
var ours = sync.OnceValues(newAuthority)

func newAuthority() (*authority, error) {
	a := &authority{certificate: &x509.Certificate{
		Subject:               pkix.Name{CommonName: "authority of a test"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making an authority's key: %w", err)
	}
	der, err := a.sign(a.certificate, &a.key.PublicKey)
	if err != nil {
		return nil, err
	}
	a.certificate, err = x509.ParseCertificate(der)
	return a, err
}

func (a *authority) sign(certificate *x509.Certificate, of *ecdsa.PublicKey) (der []byte, err error) {
	if certificate.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	certificate.NotBefore, certificate.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if der, err = x509.CreateCertificate(rand.Reader, certificate, a.certificate, of, a.key); err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", certificate.Subject.CommonName, err)
	}
	return der, nil
}

// bundle is the certificate in PEM.
func (a *authority) bundle() string { return inPEM("CERTIFICATE", a.certificate.Raw) }

// server returns a key and a certificate, for localhost and 127.0.0.1.
func (a *authority) server() (certificate, key string, err error) {
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("making a server's key: %w", err)
	}
	der, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "server of a test"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, &made.PublicKey)
	if err != nil {
		return "", "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		return "", "", fmt.Errorf("encoding a server's key: %w", err)
	}
	return inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", encoded), nil
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
	return a.bundle()
}

// OtherAuthority is the certificate, in PEM, of one who has signed nothing.
func OtherAuthority(t testing.TB) string {
	t.Helper()
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a.bundle()
}

// files are where a server finds its certificate and its key, and a client who signs.
type files struct{ certificate, key, authority string }

// certify writes a server's files to dir, for the account that it runs as.
func certify(t testing.TB, dir string, as *syscall.Credential) files {
	t.Helper()
	a, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := a.server()
	if err != nil {
		t.Fatal(err)
	}
	f := files{filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), filepath.Join(dir, "authority.crt")}
	for path, content := range map[string]string{f.certificate: certificate, f.key: key, f.authority: a.bundle()} {
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
