package backingtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

// keyPair is a certificate and its key, in PEM or as the paths of files.
type keyPair struct{ certificate, key string }

// ours returns the certificate of all servers of this process. It is self-signed, and so also the authority
// that clients trust.
var ours = sync.OnceValues(newKeyPair)

// newKeyPair returns a certificate for localhost and 127.0.0.1.
func newKeyPair() (keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "server of a test"},
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return keyPair{}, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	return keyPair{inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", encoded)}, err
}

func inPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// Authority returns the certificate, in PEM, of the authority of the servers.
func Authority(t testing.TB) string { return authority(t, ours) }

// OtherAuthority returns the certificate, in PEM, of an authority that has signed no server.
func OtherAuthority(t testing.TB) string { return authority(t, newKeyPair) }

func authority(t testing.TB, of func() (keyPair, error)) string {
	t.Helper()
	return Must[keyPair](t)(of()).certificate
}

// certify writes a server's certificate, which is also its authority, and its key to dir, owned by the account that the server runs as.
func certify(t testing.TB, dir string, as *syscall.Credential) (files keyPair) {
	t.Helper()
	pair := Must[keyPair](t)(ours())
	files = keyPair{filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")}
	for path, content := range map[string]string{files.certificate: pair.certificate, files.key: pair.key} {
		err := os.WriteFile(path, []byte(content), 0o600)
		if err == nil && as != nil {
			err = os.Chown(path, int(as.Uid), int(as.Gid))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}
