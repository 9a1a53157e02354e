// Package pki creates the certificates, keys and kubeconfigs of the node. It keeps existing ones that stay valid for a while, so
// that a second run changes nothing.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"platform.example/local/file"
)

const (
	authorityLife = 5 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// A run within this time before the expiry renews a certificate.
	renewBefore = 30 * 24 * time.Hour
)

// Authority is a certificate authority in the files <path>.crt and <path>.key.
type Authority struct {
	path string
	cert *x509.Certificate
	key  crypto.PrivateKey
}

// Pair is a certificate with its key, as paths of PEM files.
type Pair struct{ Cert, Key string }

// CertFile is the path of the authority's certificate.
func (a *Authority) CertFile() string { return a.path + ".crt" }

// KeyFile is the path of the authority's key.
func (a *Authority) KeyFile() string { return a.path + ".key" }

// LoadOrCreate returns the authority in <path>.crt and .key. It creates a new one if the files are missing, unreadable or
// about to expire.
func LoadOrCreate(path, commonName string) (*Authority, error) {
	a := &Authority{path: path}
	pair, err := tls.LoadX509KeyPair(a.CertFile(), a.KeyFile())
	if err != nil || !fresh(pair.Leaf) {
		pair, err = write(a.CertFile(), a.KeyFile(), &x509.Certificate{
			Subject:               pkix.Name{CommonName: commonName},
			NotAfter:              time.Now().Add(authorityLife),
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			BasicConstraintsValid: true,
			IsCA:                  true,
		}, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", commonName, err)
	}
	a.cert, a.key = pair.Leaf, pair.PrivateKey
	return a, nil
}

// Subject is the subject of a leaf certificate.
type Subject struct {
	CommonName   string
	Organization string
	Hosts        []string // DNS names and addresses; a certificate without hosts is for clients only
}

// Issue returns the certificate with that file name beside the authority. It issues a new one if the certificate is missing, about
// to expire, or different from the request.
func (a *Authority) Issue(name string, subject Subject) (Pair, error) {
	dir := filepath.Dir(a.path)
	pair := Pair{Cert: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key")}
	template := a.template(subject)
	if kept, err := tls.LoadX509KeyPair(pair.Cert, pair.Key); err == nil && fresh(kept.Leaf) && a.issued(kept.Leaf, template) {
		return pair, nil
	}
	if _, err := write(pair.Cert, pair.Key, template, a); err != nil {
		return Pair{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	return pair, nil
}

func (a *Authority) template(subject Subject) *x509.Certificate {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: subject.CommonName},
		NotAfter:    time.Now().Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if subject.Organization != "" {
		template.Subject.Organization = []string{subject.Organization}
	}
	for _, host := range subject.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if len(subject.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	return template
}

// issued reports whether this authority signed the certificate and the certificate matches the template.
func (a *Authority) issued(cert, template *x509.Certificate) bool {
	return cert.CheckSignatureFrom(a.cert) == nil &&
		cert.Subject.String() == template.Subject.String() &&
		slices.Equal(cert.DNSNames, template.DNSNames) &&
		slices.EqualFunc(cert.IPAddresses, template.IPAddresses, net.IP.Equal)
}

// KeyPair returns the paths of a private key, <path>.key, and its public key, <path>.pub, in PEM: the pair that signs and
// verifies service account tokens.
func KeyPair(path string) (private, public string, err error) {
	private, public = path+".key", path+".pub"
	key, ok := loadKey(private)
	if !ok {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return "", "", fmt.Errorf("key %s: %w", path, err)
		}
		if err := writeKey(private, key); err != nil {
			return "", "", err
		}
	}
	der, _ := x509.MarshalPKIXPublicKey(key.Public()) // an ECDSA key always encodes
	return private, public, writePEM(public, "PUBLIC KEY", der)
}

func fresh(cert *x509.Certificate) bool {
	return time.Now().After(cert.NotBefore) && time.Now().Add(renewBefore).Before(cert.NotAfter)
}

// loadKey returns the key in a file. It returns false if the file is missing or holds no such key.
func loadKey(path string) (key *ecdsa.PrivateKey, ok bool) {
	content, _ := os.ReadFile(path)
	if block, _ := pem.Decode(content); block != nil {
		parsed, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
		key, ok = parsed.(*ecdsa.PrivateKey)
	}
	return key, ok
}

// write creates a key and its certificate, and stores both, the key first: an interrupted run leaves a mismatched pair, which the
// next run replaces. Without an authority, the certificate signs itself.
func write(certFile, keyFile string, template *x509.Certificate, authority *Authority) (pair tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair, err
	}
	parent, signer := template, crypto.PrivateKey(key)
	if authority != nil {
		parent, signer = authority.cert, authority.key
	}
	template.NotBefore = time.Now().Add(-time.Minute)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return pair, err
	}
	if err := writeKey(keyFile, key); err != nil {
		return pair, err
	}
	if err := writePEM(certFile, "CERTIFICATE", der); err != nil {
		return pair, err
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, _ := x509.MarshalPKCS8PrivateKey(key) // an ECDSA key always encodes
	return writePEM(path, "PRIVATE KEY", der)
}

// writePEM writes with mode 0600: certificates are public, but no other user needs these.
func writePEM(path, kind string, der []byte) error {
	return file.Write(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

//go:embed kubeconfig.yml
var kubeconfig string

// WriteKubeconfig writes a self-contained kubeconfig with mode 0600 for the user of the certificate.
func (a *Authority) WriteKubeconfig(path, cluster, server, user string, pair Pair) error {
	values := []string{"<cluster>", cluster, "<server>", server, "<user>", user}
	for placeholder, path := range map[string]string{"<authority>": a.CertFile(), "<certificate>": pair.Cert, "<key>": pair.Key} {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", user, err)
		}
		values = append(values, placeholder, base64.StdEncoding.EncodeToString(content))
	}
	return file.Write(path, []byte(strings.NewReplacer(values...).Replace(kubeconfig)), 0o600)
}
