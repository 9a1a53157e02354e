package node

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"text/template"

	"platform.example/local/file"
)

//go:embed all:config manifests
var files embed.FS

// settings are the values that the templates of configuration files and manifests may use.
type settings struct {
	Name, State, Registry, StorageClass           string
	Bridge, Address, DNSService                   string
	PodRanges, PodAddresses                       string // CIDRs; in the format of host-local
	ContainerdSocket, SandboxImage                string
	Credentials                                   credentials
	ProxyKubeconfig, ResolvConf                   string
	CoreDNSImage, MetricsServerImage, Provisioner string
	HasNameserver                                 bool
	Zone                                          string // empty on a single node
	MaxPods                                       int
}

func (n *Node) settings(c credentials) settings {
	resolvConf, hasNameserver := hostResolvConf()
	return settings{
		Name: n.name(), State: n.path(), Registry: Registry, StorageClass: StorageClass,
		Bridge: bridge, Address: n.addresses()[0], DNSService: n.families()[0].dns,
		PodRanges:        n.list(func(f family) string { return f.pods }),
		PodAddresses:     n.podAddresses(),
		ContainerdSocket: n.containerdSocket(), Credentials: c,
		ProxyKubeconfig: n.kubeconfig("kube-proxy"), ResolvConf: resolvConf, HasNameserver: hasNameserver,
		Provisioner: provisioner, Zone: n.zone(), MaxPods: podRanges[n.number].pods,
	}
}

// resolvConfs may name the machine's name servers; systemd-resolved and NetworkManager write those behind a server on loopback.
var resolvConfs = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

var loopbackServer = regexp.MustCompile(`(?m)^nameserver\s+(127\.|::1\s*$)`)

// hostResolvConf returns the first file whose name servers pods can reach: on loopback, a pod reaches only itself.
func hostResolvConf() (path string, hasNameserver bool) {
	for _, path := range resolvConfs {
		content, _ := os.ReadFile(path)
		if strings.Contains(string(content), "nameserver ") && !loopbackServer.Match(content) {
			return path, true
		}
	}
	return resolvConfs[0], false
}

// writeConfig renders the embedded file, or all files below an embedded folder, into the node's folder.
func (n *Node) writeConfig(s settings, root string) error {
	return fs.WalkDir(files, root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := render(path, s)
		if err != nil {
			return err
		}
		return file.Write(n.path(path), content, 0o600)
	})
}

// render renders one of the embedded templates.
func render(path string, s settings) ([]byte, error) {
	parsed, err := template.ParseFS(files, path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var content bytes.Buffer
	if err := parsed.Execute(&content, s); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return content.Bytes(), nil
}

// revision returns a hash of the files that a process reads at its start.
func revision(paths ...string) (string, error) {
	hash := sha256.New()
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("configuration: %w", err)
		}
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}
