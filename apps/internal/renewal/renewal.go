// Package renewal implements the subcommand that renews the certificates of the stack's authority before they
// expire. The certificates are in Secrets; the servers that mount a Secret reload it.
package renewal

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"platform.example/apps/internal/apiserver"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/service"
)

// Orders lists the certificates to keep valid. Each is renewed in the last third of its duration.
type Orders struct {
	DurationSeconds int           `json:"durationSeconds"`
	Certificates    []Certificate `json:"certificates"`
}

// Certificate is a server's certificate in a Secret of type kubernetes.io/tls.
type Certificate struct {
	Path  string   `json:"path"` // of the Secret on the API server
	Hosts []string `json:"hosts"`
}

// Command renews the due certificates of the environment variable CERTIFICATES. AUTHORITY_FILE names a PEM
// file with the authority's certificate and its key, followed by those of other authorities.
func Command(ctx context.Context, p service.Process) error {
	env := config.From(p.Lookup)
	orders := config.Parsed(env, "CERTIFICATES", func(text string) (orders Orders, err error) {
		return orders, json.Unmarshal([]byte(text), &orders)
	})
	authority := config.Parsed(env, "AUTHORITY_FILE", readAuthority)
	api, err := apiserver.New(env)
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}
	return Renewer{api, authority}.Renew(ctx, orders, time.Now(), p.Stdout)
}

func readAuthority(path string) (tls.Certificate, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the pod's own file
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("names a file that can't be read: %w", errors.Unwrap(err)) // err contains the value, which may be the key
	}
	certificate, rest := pem.Decode(content)
	key, _ := pem.Decode(rest)
	if certificate == nil || key == nil {
		return tls.Certificate{}, errors.New("holds no certificate in PEM, followed by its key")
	}
	return tls.X509KeyPair(pem.EncodeToMemory(certificate), pem.EncodeToMemory(key))
}

// Renewer issues certificates that Authority signs.
type Renewer struct {
	API       apiserver.Client
	Authority tls.Certificate
}

// Renew renews each certificate that is due at the time now. A certificate that can't be renewed doesn't keep
// others from being renewed.
func (r Renewer) Renew(ctx context.Context, orders Orders, now time.Time, out io.Writer) error {
	var faults []error
	for _, certificate := range orders.Certificates {
		reason, err := r.renew(ctx, certificate, time.Duration(orders.DurationSeconds)*time.Second, now)
		if err != nil {
			faults = append(faults, fmt.Errorf("renew %s: %w", certificate.Path, err))
		} else if reason != "" {
			_, _ = fmt.Fprintf(out, "renewed %s: %s\n", certificate.Path, reason)
		}
	}
	return errors.Join(faults...)
}

// renew returns why it renewed the certificate, or "" if the certificate isn't due.
func (r Renewer) renew(ctx context.Context, certificate Certificate, duration time.Duration, now time.Time) (reason string, err error) {
	status, body, err := r.API.Do(ctx, http.MethodGet, certificate.Path, nil)
	if err != nil {
		return "", err
	}
	if status == http.StatusNotFound {
		return "", errors.New("the Secret doesn't exist: `pulumi up` creates it")
	}
	var secret struct {
		Metadata struct{ ResourceVersion string }
		Data     map[string][]byte
	}
	if err := json.Unmarshal(body, &secret); err != nil {
		return "", fmt.Errorf("the response is not a Secret: %w", err)
	}
	reason = r.due(secret.Data[certificateKey], secret.Data[privateKey], certificate.Hosts, duration, now)
	if reason == "" {
		return "", nil
	}
	signed, key, err := r.issue(certificate.Hosts, now, now.Add(duration))
	if err != nil {
		return "", err
	}
	patch, _ := json.Marshal([]map[string]any{ // plain values always encode
		{"op": "test", "path": "/metadata/resourceVersion", "value": secret.Metadata.ResourceVersion},
		{"op": "add", "path": "/data/" + certificateKey, "value": signed},
		{"op": "add", "path": "/data/" + privateKey, "value": key},
	})
	status, _, err = r.API.Do(ctx, http.MethodPatch, certificate.Path, patch)
	if err == nil && status != http.StatusOK {
		err = errors.New("the Secret was changed at the same time")
	}
	return reason, err
}

// The keys of a Secret of type kubernetes.io/tls.
const certificateKey, privateKey = "tls.crt", "tls.key"

// due returns why a certificate must be renewed, or "" if it need not be.
func (r Renewer) due(certificate, key []byte, hosts []string, duration time.Duration, now time.Time) string {
	served, err := tls.X509KeyPair(certificate, key)
	switch {
	case err != nil:
		return "it can't be used: " + err.Error()
	case !slices.Equal(served.Leaf.DNSNames, hosts):
		return fmt.Sprintf("it is for %v", served.Leaf.DNSNames)
	case served.Leaf.CheckSignatureFrom(r.Authority.Leaf) != nil:
		return "another authority has signed it"
	case served.Leaf.NotAfter.After(now.Add(duration + time.Minute)): // clocks differ
		return "it lasts longer than " + duration.String()
	case served.Leaf.NotAfter.Before(now.Add(duration/3)) && served.Leaf.NotAfter.Before(r.Authority.Leaf.NotAfter):
		return "it expires at " + served.Leaf.NotAfter.UTC().Format(time.RFC3339)
	default:
		return ""
	}
}

// issue returns a new certificate and its key in PEM, valid until end or until the authority expires.
func (r Renewer) issue(hosts []string, now, end time.Time) (certificate, key []byte, err error) {
	authority := r.Authority.Leaf
	if now.After(authority.NotAfter) {
		return nil, nil, fmt.Errorf("the authority has expired at %s: rotate it", authority.NotAfter.UTC().Format(time.RFC3339))
	}
	if end.After(authority.NotAfter) {
		end = authority.NotAfter
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts,
		NotBefore: now.Add(-time.Hour), NotAfter: end, // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if slices.Contains(hosts, "localhost") {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, authority, &private.PublicKey, r.Authority.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), err
}
