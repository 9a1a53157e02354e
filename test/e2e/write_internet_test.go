package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"platform.example/test/kit"
	"platform.example/test/variant"
)

// internet is an address for documentation (RFC 5737), which the network policies treat like any other address on the internet. The
// test gives it to this machine.
const internet = "198.51.100.7"

// TestIdentityProviderAndMailServer runs an identity provider and a mail server, and the platform with the settings of both.
func TestIdentityProviderAndMailServer(t *testing.T) {
	kit.Output(t, "ip", "address", "replace", internet+"/32", "dev", "lo")
	t.Cleanup(func() {
		if _, err := kit.Run("ip", "address", "delete", internet+"/32", "dev", "lo"); err != nil {
			t.Error(err)
		}
	})
	authority := newAuthority(t)
	provider, server := startProvider(t, authority), startMailServer(t, authority)

	t.Cleanup(func() { kit.Restore(t) })
	clone := kit.CopySources(t)
	kit.OwnConfig(t, clone)
	trust(t, variant.Copy(clone), authority.certificate)
	for _, setting := range []string{
		"--path platform:services.api-gateway.oidcIssuer " + provider.issuer,
		"--path platform:services.api-gateway.oidcClientId " + clientID,
		"--path platform:services.notification-service.smtpServer smtp://" + mailUser + "@" + server.address,
		"--path platform:services.notification-service.mailFrom " + mailFrom,
		"--path platform:services.notification-service.accountPage " + accountPage,
		"--secret platform:smtpPassword " + server.password,
	} {
		kit.Output(t, "bash", "-c", "cd '"+clone+"' && pulumi config set --stack local "+setting)
	}
	if printed, err := kit.PulumiUp(clone); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}

	delayed := kit.Gateway().SignUp(t)
	server.takes(t, delayed.Email, "Confirm your email address")
	server.refuse(delayed.Email) // the retry takes minutes, during which the other tests run
	requestReset(t, delayed.Email)
	t.Run("links in emails", func(t *testing.T) { testLinksInEmails(t, server) })
	t.Run("sign-in with the provider", func(t *testing.T) { testSignInWithProvider(t, provider, server) })
	t.Run("refused ID tokens", func(t *testing.T) { testRefusedIDTokens(t, provider, server) })
	t.Run("an email that the server refused for now", func(t *testing.T) { testRetriedEmail(t, server, delayed) })
	t.Run("no email is kept in the sink", func(t *testing.T) { testSinkIsUnused(t, server) })
}

// authority is a certificate authority for servers at the address internet.
type authority struct {
	certificate []byte // in PEM
	parsed      *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), template, key}
}

// issue returns the configuration of a server, with a certificate.
func (a authority) issue(t *testing.T) *tls.Config {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: internet}, IPAddresses: []net.IP{net.ParseIP(internet)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.parsed, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// roots returns the pool with the authority alone.
func (a authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.certificate)
	return pool
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// trust makes the services of a copy trust an authority instead of the public ones, which are compiled into them.
func trust(t *testing.T, clone variant.Copy, certificate []byte) {
	t.Helper()
	const public = "\t_ \"golang.org/x/crypto/x509roots/fallback\" // the image holds no CA roots\n"
	if err := clone.Replace("apps/internal/service/service.go", public, ""); err != nil {
		t.Fatal(err)
	}
	content := "package service\n\nimport \"crypto/x509\"\n\nfunc init() {\n\tpool := x509.NewCertPool()\n\tpool.AppendCertsFromPEM([]byte(`" +
		string(bytes.TrimSpace(certificate)) + "`))\n\tx509.SetFallbackRoots(pool)\n}\n"
	if err := clone.Write("apps/internal/service/roots.go", content); err != nil {
		t.Fatal(err)
	}
}
