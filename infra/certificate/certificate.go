// Package certificate issues and parses the certificates of a stack's own authority in PEM.
package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/util/cert"
)

// authorityLife is the validity of an authority.
const authorityLife = 10 * 365 * 24 * time.Hour

// The types of PEM blocks.
const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

// NewAuthority returns a CA certificate and its key.
func NewAuthority(now time.Time) (string, error) {
	suffix := make([]byte, 4)
	_, _ = rand.Read(suffix) // never returns an error
	template := &x509.Certificate{
		// Authorities of the same day need different names, because some clients find the issuer only by its name.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("platform authority %s %x", now.UTC().Format(time.DateOnly), suffix)},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return sign(template, nil, nil)
}

// Current returns the served certificate, or a new one if that is due for renewal.
func Current(served, authorities string, hosts []string, duration time.Duration, now time.Time) (string, error) {
	if Outdated(served, authorities, hosts, duration, now) == nil {
		return served, nil
	}
	return Issue(authorities, hosts, duration, now)
}

// Issue returns a server's certificate for the hosts and its key, signed by the first authority.
func Issue(authorities string, hosts []string, duration time.Duration, now time.Time) (string, error) {
	all, err := Authorities(authorities)
	if err != nil {
		return "", err
	}
	certificate, key, err := parse(all[0])
	if err != nil {
		return "", err
	}
	if now.After(certificate.NotAfter) {
		return "", fmt.Errorf("the authority in use expired on %s: rotate it", certificate.NotAfter.UTC().Format(time.DateOnly))
	}
	if len(hosts) == 0 {
		return "", errors.New("want a host to issue a certificate for")
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		DNSNames:    hosts,
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    slices.MinFunc([]time.Time{now.Add(duration), certificate.NotAfter}, time.Time.Compare),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if slices.Contains(hosts, "localhost") {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	return sign(template, certificate, key)
}

// sign generates a key and its certificate, which is self-signed without a parent.
func sign(template, parent *x509.Certificate, signer crypto.PrivateKey) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	if parent == nil {
		parent, signer = template, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return "", err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	return text(certificateBlock, signed) + text(keyBlock, encoded), err
}

func text(kind string, content []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
}

// Authorities splits the authorities, each a certificate and its key. The one in use comes first.
func Authorities(value string) ([]string, error) {
	var pairs []string
	for rest := []byte(value); len(bytes.TrimSpace(rest)) > 0; {
		certificate, after := pem.Decode(rest)
		key, after := pem.Decode(after)
		if certificate == nil || key == nil {
			return nil, errNotPairs
		}
		pairs = append(pairs, string(pem.EncodeToMemory(certificate))+string(pem.EncodeToMemory(key)))
		rest = after
	}
	if len(pairs) == 0 {
		return nil, errNotPairs
	}
	for _, pair := range pairs {
		if certificate, _, err := parse(pair); err != nil {
			return nil, err
		} else if !certificate.IsCA {
			return nil, errors.New("contains a certificate that isn't a CA certificate")
		}
	}
	return pairs, nil
}

var errNotPairs = errors.New("want certificates in PEM, each followed by its key")

// Bundle returns the certificates without the keys, for clients that trust the authorities.
func Bundle(authorities string) (string, error) {
	pairs, err := Authorities(authorities)
	if err != nil {
		return "", err
	}
	var bundle string
	for _, pair := range pairs {
		certificate, _, _ := Split(pair) // Authorities has parsed it
		bundle += certificate
	}
	return bundle, nil
}

// Split separates a certificate and its key.
func Split(pair string) (certificate, key string, err error) {
	first, rest := pem.Decode([]byte(pair))
	second, rest := pem.Decode(rest)
	if first == nil || second == nil || first.Type != certificateBlock || second.Type != keyBlock || len(bytes.TrimSpace(rest)) > 0 {
		return "", "", errors.New("want one certificate and its key in PEM")
	}
	return string(pem.EncodeToMemory(first)), string(pem.EncodeToMemory(second)), nil
}

// parse parses a certificate and its key, which must match.
func parse(pair string) (*x509.Certificate, crypto.PrivateKey, error) {
	first, second, err := Split(pair)
	if err != nil {
		return nil, nil, err
	}
	both, err := tls.X509KeyPair([]byte(first), []byte(second))
	if err != nil {
		return nil, nil, fmt.Errorf("the key doesn't match the certificate: %w", err)
	}
	return both.Leaf, both.PrivateKey, nil
}

// NotAfter returns the expiry of the first certificate, which is the authority in use.
func NotAfter(value string) (time.Time, error) {
	certificates, err := cert.ParseCertsPEM([]byte(value))
	if err != nil {
		return time.Time{}, err
	}
	return certificates[0].NotAfter, nil
}

// Outdated returns the reason why a server's certificate is due for renewal: it is invalid, it is for other hosts, the first authority
// didn't sign it, its validity is longer than the duration, or it is in the last third of that. The services' subcommand renew, which runs
// between updates, uses the same conditions.
func Outdated(pair, authorities string, hosts []string, duration time.Duration, now time.Time) error {
	certificate, _, err := parse(pair)
	if err != nil {
		return err
	}
	all, err := Authorities(authorities)
	if err != nil {
		return err
	}
	authority, _, err := parse(all[0])
	if err != nil {
		return err
	}
	switch {
	case !slices.Equal(certificate.DNSNames, hosts):
		return fmt.Errorf("is valid for %s, not for %s", strings.Join(certificate.DNSNames, ", "), strings.Join(hosts, ", "))
	case certificate.CheckSignatureFrom(authority) != nil:
		return errors.New("is not signed by the authority in use")
	case certificate.NotAfter.After(now.Add(duration + time.Minute)): // clocks differ
		return fmt.Errorf("is valid for longer than %s", duration)
	// Renewing a certificate that expires with its authority would change nothing.
	case now.Add(duration/3).After(certificate.NotAfter) && certificate.NotAfter.Before(authority.NotAfter):
		return fmt.Errorf("expires at %s", certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
