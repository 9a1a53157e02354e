package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

var server = Subject{CommonName: "system:node:platform", Organization: "system:nodes", Hosts: []string{"platform", "10.231.0.1"}}

func authority(t *testing.T, folder string) *Authority {
	t.Helper()
	a, err := LoadOrCreate(filepath.Join(folder, "ca"), "test authority")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *Authority, name string, subject Subject) Pair {
	t.Helper()
	pair, err := a.Issue(name, subject)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func parse(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(read(t, path))
	if block == nil {
		t.Fatalf("%s is not PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func pool(a *Authority) *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return roots
}

func TestCertificatesVerifyAgainstTheirAuthority(t *testing.T) {
	a, other := authority(t, t.TempDir()), authority(t, t.TempDir())
	for _, c := range []struct {
		name    string
		subject Subject
		host    string
		usage   x509.ExtKeyUsage
		valid   bool
	}{
		{"a server by its name", server, "platform", x509.ExtKeyUsageServerAuth, true},
		{"a server by its address", server, "10.231.0.1", x509.ExtKeyUsageServerAuth, true},
		{"a server by another name", server, "elsewhere", x509.ExtKeyUsageServerAuth, false},
		{"a server by another address", server, "10.231.0.2", x509.ExtKeyUsageServerAuth, false},
		{"a server as a client", server, "", x509.ExtKeyUsageClientAuth, true},
		{"a client as a client", Subject{CommonName: "admin"}, "", x509.ExtKeyUsageClientAuth, true},
		{"a client as a server", Subject{CommonName: "admin"}, "", x509.ExtKeyUsageServerAuth, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			pair := issue(t, a, c.subject.CommonName, c.subject)
			if _, err := tls.LoadX509KeyPair(pair.Cert, pair.Key); err != nil {
				t.Errorf("the key doesn't match the certificate: %v", err)
			}
			cert := parse(t, pair.Cert)
			options := x509.VerifyOptions{Roots: pool(a), DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{c.usage}}
			if _, err := cert.Verify(options); (err == nil) != c.valid {
				t.Errorf("verify: %v, want valid %v", err, c.valid)
			}
			options.Roots = pool(other)
			if _, err := cert.Verify(options); err == nil {
				t.Error("the certificate verifies against another authority")
			}
			if cert.IsCA || cert.Subject.CommonName != c.subject.CommonName {
				t.Errorf("subject %s, authority %v", cert.Subject, cert.IsCA)
			}
			var organizations []string
			if c.subject.Organization != "" {
				organizations = []string{c.subject.Organization}
			}
			if !slices.Equal(cert.Subject.Organization, organizations) {
				t.Errorf("organization %q, want %q", cert.Subject.Organization, organizations)
			}
		})
	}
}

func TestAuthority(t *testing.T) {
	cert := authority(t, t.TempDir()).cert
	if !cert.IsCA || cert.Subject.CommonName != "test authority" || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("authority %v, subject %s, usage %b", cert.IsCA, cert.Subject, cert.KeyUsage)
	}
	if left := time.Until(cert.NotAfter); left < authorityLife-time.Hour || left > authorityLife {
		t.Errorf("the authority expires in %s", left)
	}
}

// files returns the contents of a folder by file name.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	contents := map[string]string{}
	for _, entry := range entries {
		contents[entry.Name()] = string(read(t, filepath.Join(folder, entry.Name())))
	}
	return contents
}

func makeAll(t *testing.T, folder string) {
	t.Helper()
	a := authority(t, folder)
	pair := issue(t, a, "server", server)
	issue(t, a, "client", Subject{CommonName: "admin", Organization: "system:masters"})
	if _, _, err := KeyPair(filepath.Join(folder, "tokens")); err != nil {
		t.Fatal(err)
	}
	if err := a.WriteKubeconfig(filepath.Join(folder, "kubeconfig"), "platform", "https://10.231.0.1:6443", "server", pair); err != nil {
		t.Fatal(err)
	}
}

func TestSecondRunKeepsAllFiles(t *testing.T) {
	folder := t.TempDir()
	makeAll(t, folder)
	first := files(t, folder)
	if len(first) != 9 { // three certificates with keys, a key pair, a kubeconfig
		t.Errorf("created %d files", len(first))
	}
	makeAll(t, folder)
	second := files(t, folder)
	for name := range second {
		if first[name] != second[name] {
			t.Errorf("%s changed", name)
		}
	}
}

func TestFilesAreReadableByTheirOwnerOnly(t *testing.T) {
	folder := t.TempDir()
	makeAll(t, folder)
	for name := range files(t, folder) {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestCertificateIsIssuedAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		subject Subject
		spoil   func(t *testing.T, a *Authority, pair Pair)
	}{
		{name: "it is to have another host", subject: Subject{server.CommonName, server.Organization, []string{"platform", "10.231.0.9"}}},
		{name: "it is to have one host more", subject: Subject{server.CommonName, server.Organization, append(server.Hosts, "localhost")}},
		{name: "it is to have no hosts", subject: Subject{CommonName: server.CommonName, Organization: server.Organization}},
		{name: "it is to name another", subject: Subject{"system:node:other", server.Organization, server.Hosts}},
		{name: "it is to have other rights", subject: Subject{server.CommonName, "system:masters", server.Hosts}},
		{name: "it is about to end", subject: server, spoil: func(t *testing.T, a *Authority, pair Pair) {
			resign(t, a, pair, time.Now().Add(renewBefore-time.Hour))
		}},
		{name: "its key is missing", subject: server, spoil: func(t *testing.T, _ *Authority, pair Pair) {
			if err := os.Remove(pair.Key); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "the certificate is missing", subject: server, spoil: func(t *testing.T, _ *Authority, pair Pair) {
			if err := os.Remove(pair.Cert); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "the key is another's", subject: server, spoil: func(t *testing.T, a *Authority, pair Pair) {
			overwrite(t, pair.Key, read(t, issue(t, a, "other", server).Key))
		}},
		{name: "the file was cut off", subject: server, spoil: func(t *testing.T, _ *Authority, pair Pair) {
			content := read(t, pair.Cert)
			overwrite(t, pair.Cert, content[:len(content)/2])
		}},
		{name: "another authority issued it", subject: server, spoil: func(t *testing.T, _ *Authority, pair Pair) {
			foreign := issue(t, authority(t, t.TempDir()), "server", server)
			overwrite(t, pair.Cert, read(t, foreign.Cert))
			overwrite(t, pair.Key, read(t, foreign.Key))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := authority(t, t.TempDir())
			pair := issue(t, a, "server", server)
			if c.spoil != nil {
				c.spoil(t, a, pair)
			}
			before, _ := os.ReadFile(pair.Cert)
			again := issue(t, a, "server", c.subject)
			if again != pair {
				t.Errorf("the files are %v, were %v", again, pair)
			}
			after := read(t, again.Cert)
			if bytes.Equal(before, after) {
				t.Error("the certificate was kept")
			}
			cert := parse(t, again.Cert)
			if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(a), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
			if _, err := tls.LoadX509KeyPair(again.Cert, again.Key); err != nil {
				t.Error(err)
			}
			if left := time.Until(cert.NotAfter); left < leafLife-time.Hour {
				t.Errorf("the new certificate expires in %s", left)
			}
		})
	}
}

func TestCertificateIsKeptUntilItIsAboutToExpire(t *testing.T) {
	a := authority(t, t.TempDir())
	pair := issue(t, a, "server", server)
	resign(t, a, pair, time.Now().Add(renewBefore+time.Hour))
	before := read(t, pair.Cert)
	issue(t, a, "server", server)
	if !bytes.Equal(before, read(t, pair.Cert)) {
		t.Error("the certificate was renewed too early")
	}
}

// resign replaces the certificate of the pair with one that expires at the given time.
func resign(t *testing.T, a *Authority, pair Pair, end time.Time) {
	t.Helper()
	template := a.template(server)
	template.NotAfter = end
	if _, err := write(pair.Cert, pair.Key, template, a); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAuthorityWithoutKeyIsReplacedWithItsCertificates(t *testing.T) {
	folder := t.TempDir()
	old := authority(t, folder)
	issue(t, old, "server", server)
	if err := os.Remove(old.KeyFile()); err != nil {
		t.Fatal(err)
	}
	fresh := authority(t, folder)
	if bytes.Equal(fresh.cert.Raw, old.cert.Raw) {
		t.Fatal("the authority was kept without its key")
	}
	pair := issue(t, fresh, "server", server)
	if err := parse(t, pair.Cert).CheckSignatureFrom(fresh.cert); err != nil {
		t.Error(err)
	}
}

func TestKeyPair(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	for _, missing := range []string{"", ".key", ".pub"} {
		if missing != "" {
			if err := os.Remove(path + missing); err != nil {
				t.Fatal(err)
			}
		}
		private, public, err := KeyPair(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(read(t, private))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		block, _ = pem.Decode(read(t, public))
		half, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !key.(*ecdsa.PrivateKey).PublicKey.Equal(half) {
			t.Errorf("after %q was missing, the keys don't match", missing)
		}
	}
}

func TestKubeconfigIsSelfContained(t *testing.T) {
	folder := t.TempDir()
	a := authority(t, folder)
	pair := issue(t, a, "admin", Subject{CommonName: "platform-admin", Organization: "system:masters"})
	path := filepath.Join(folder, "admin.kubeconfig")
	if err := a.WriteKubeconfig(path, "platform", "https://10.231.0.1:6443", "admin", pair); err != nil {
		t.Fatal(err)
	}
	var config struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Current    string `yaml:"current-context"`
		Clusters   []struct {
			Name    string
			Cluster struct {
				Server string
				CA     string `yaml:"certificate-authority-data"`
			}
		}
		Users []struct {
			Name string
			User struct {
				Cert string `yaml:"client-certificate-data"`
				Key  string `yaml:"client-key-data"`
			}
		}
		Contexts []struct {
			Name    string
			Context struct{ Cluster, User string }
		}
	}
	if err := yaml.Unmarshal(read(t, path), &config); err != nil {
		t.Fatal(err)
	}
	if config.APIVersion != "v1" || config.Kind != "Config" || len(config.Clusters) != 1 || len(config.Users) != 1 || len(config.Contexts) != 1 {
		t.Fatalf("kubeconfig is %+v", config)
	}
	cluster, user, context := config.Clusters[0], config.Users[0], config.Contexts[0]
	if config.Current != context.Name || context.Context.Cluster != cluster.Name || context.Context.User != user.Name {
		t.Errorf("the current context %s is undefined: %+v", config.Current, context)
	}
	if cluster.Cluster.Server != "https://10.231.0.1:6443" || user.Name != "admin" {
		t.Errorf("server %s, user %s", cluster.Cluster.Server, user.Name)
	}
	for _, c := range []struct{ data, file string }{
		{cluster.Cluster.CA, a.CertFile()}, {user.User.Cert, pair.Cert}, {user.User.Key, pair.Key},
	} {
		if content, err := base64.StdEncoding.DecodeString(c.data); err != nil || !bytes.Equal(content, read(t, c.file)) {
			t.Errorf("it doesn't contain %s: %v", c.file, err)
		}
	}
}
