package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"platform.example/test/kit"
	"platform.example/test/load"
)

// served returns the certificate that a server presents. Postgres speaks TLS only after a request
// (postgresql.org/docs, "Message Formats", SSLRequest).
func served(address string, postgres bool) (*x509.Certificate, error) {
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(5 * time.Second))
	if postgres {
		if _, err := connection.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
			return nil, err
		}
	}
	secured := tls.Client(connection, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test only reads the certificate and sends no data
	if err := secured.Handshake(); err != nil {
		return nil, err
	}
	return secured.ConnectionState().PeerCertificates[0], nil
}

// presented returns the certificates of the stores and the edge, by Secret.
func presented() (map[string]*x509.Certificate, error) {
	certificates := map[string]*x509.Certificate{}
	for name, selector := range map[string]string{"postgres": "5432", "redis-cache": "6379", "redis-stream": "6379"} {
		address, err := kit.Run("kubectl", "get", "pods", "--namespace=data", "--selector=platform.example/of="+name, "--output=jsonpath={.items[0].status.podIP}")
		if err == nil {
			certificates["data/"+name+"-certificate"], err = served(net.JoinHostPort(address, selector), name == "postgres")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	edge, err := served(kit.EdgeAddress(), false)
	certificates["edge/edge-certificate"] = edge
	return certificates, err
}

// TestCertificatesRenewBeforeTheyExpire runs the platform with certificates of ten minutes, for longer than that.
func TestCertificatesRenewBeforeTheyExpire(t *testing.T) {
	const duration = 10 * time.Minute
	update := func() {
		kit.Output(t, "pulumi", "up", "--stack", "local", "--yes", "--skip-preview", "--non-interactive")
	}
	pods := func() string {
		return kit.Output(t, "kubectl", "get", "pods", "--all-namespaces", "--selector=platform.example/of in (postgres,redis-cache,redis-stream,edge)",
			"--output=jsonpath={range .items[*]}{.metadata.name}={.metadata.uid} {end}")
	}
	kit.Output(t, "pulumi", "config", "set", "platform:certificateDuration", duration.String(), "--stack", "local")
	defer func() {
		kit.Output(t, "pulumi", "config", "rm", "platform:certificateDuration", "--stack", "local")
		update()
	}()
	running, err := load.Start(context.Background(), load.Options{BaseURL: kit.Gateway().Base, RootCAs: kit.Authority(), Rate: 20, Duration: 14 * time.Minute, NewConnections: 0.2})
	if err != nil {
		t.Fatal(err)
	}
	before := pods()
	update()
	first := map[string]*x509.Certificate{}
	kit.Eventually(t, 3*time.Minute, "each server presents a certificate of ten minutes", func() error {
		now, err := presented()
		if err != nil {
			return err
		}
		for name, certificate := range now {
			if left := time.Until(certificate.NotAfter); left > duration {
				return fmt.Errorf("the certificate of %s is valid for %s", name, left)
			}
		}
		first = now
		return nil
	})
	ends := time.Now()
	for name, certificate := range first {
		t.Logf("%s expires at %s", name, certificate.NotAfter.Format(time.TimeOnly))
		if certificate.NotAfter.After(ends) {
			ends = certificate.NotAfter
		}
	}
	renewed := map[string]time.Time{}
	for time.Now().Before(ends.Add(20 * time.Second)) {
		now, err := presented()
		if err != nil {
			t.Error(err)
		}
		for name, certificate := range now {
			if certificate == nil {
				continue
			}
			if time.Now().After(certificate.NotAfter) {
				t.Fatalf("%s presents a certificate that has expired at %s", name, certificate.NotAfter)
			}
			if renewed[name].IsZero() && certificate.SerialNumber.Cmp(first[name].SerialNumber) != 0 {
				renewed[name] = time.Now()
				t.Logf("%s presents a new certificate at %s, %s before the expiry", name, time.Now().Format(time.TimeOnly), time.Until(first[name].NotAfter).Round(time.Second))
			}
		}
		time.Sleep(5 * time.Second)
	}
	if len(renewed) != len(first) {
		t.Errorf("the renewed certificates are %v", renewed)
	}
	for _, lost := range running.Stop().Lost() {
		t.Errorf("lost: %+v", lost)
	}
	if err := running.Settle(context.Background()); err != nil {
		t.Error(err)
	}
	if after := pods(); after != before {
		t.Errorf("pods were replaced: %s, were %s", after, before)
	}
}

// An update replaces a certificate that is expired or unreadable.
func TestUpdateReplacesAnExpiredCertificate(t *testing.T) {
	garbage := base64.StdEncoding.EncodeToString([]byte("expired"))
	kit.Output(t, "kubectl", "patch", "secret", "redis-cache-certificate", "--namespace=data", `--patch={"data":{"tls.crt":"`+garbage+`"}}`)
	kit.Output(t, "pulumi", "up", "--stack", "local", "--yes", "--skip-preview", "--non-interactive")
	kit.Eventually(t, 3*time.Minute, "the cache presents a valid certificate of its Secret", func() error {
		stored, err := kit.Run("kubectl", "get", "secret", "redis-cache-certificate", "--namespace=data", `--output=jsonpath={.data.tls\.crt}`)
		if err != nil {
			return err
		}
		if stored == garbage {
			return errors.New("the Secret contains another certificate")
		}
		now, err := presented()
		if err != nil {
			return err
		}
		text, _ := base64.StdEncoding.DecodeString(stored)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		_, err = now["data/redis-cache-certificate"].Verify(x509.VerifyOptions{Roots: pool})
		return err
	})
}
