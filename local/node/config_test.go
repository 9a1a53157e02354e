package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"gopkg.in/yaml.v3"

	"platform.example/local/file"
	"platform.example/local/layout"
	"platform.example/local/progress"
	"platform.example/local/toolchain"
)

// described returns a node in a test folder, with all of its credentials. It starts nothing.
func described(t *testing.T) (*Node, credentials) {
	t.Helper()
	n := New(layout.Layout{State: t.TempDir()}, nil, progress.New(io.Discard))
	issued, err := n.issue()
	if err != nil {
		t.Fatal(err)
	}
	return n, issued
}

// filled returns settings with all images set.
func filled(n *Node, c credentials) settings {
	s := n.settings(c)
	s.SandboxImage, s.CoreDNSImage, s.MetricsServerImage = Registry+"/platform/pause@sha256:0", Registry+"/platform/coredns@sha256:1", Registry+"/platform/metrics-server@sha256:2"
	return s
}

// documents returns the documents of a YAML stream.
func documents(t *testing.T, path string, content []byte) (list []map[string]any) {
	t.Helper()
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, content)
		}
		list = append(list, document)
	}
}

func TestEveryTemplateRendersToAValidFile(t *testing.T) {
	n, issued := described(t)
	for _, hasNameserver := range []bool{true, false} {
		s := filled(n, issued)
		s.HasNameserver = hasNameserver
		count := 0
		err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			count++
			content, err := render(path, s)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return nil
			}
			if text := string(content); strings.Contains(text, "{{") || strings.Contains(text, "<no value>") || strings.Contains(text, "%!") {
				t.Errorf("%s contains an empty value:\n%s", path, content)
			}
			switch filepath.Ext(path) {
			case ".conflist":
				var network struct{ Name, CNIVersion string }
				if err := json.Unmarshal(content, &network); err != nil || network.Name != Name || network.CNIVersion == "" {
					t.Errorf("%s: %v, %+v", path, err, network)
				}
			case ".toml":
				var config map[string]any
				if err := toml.Unmarshal(content, &config); err != nil || len(config) == 0 {
					t.Errorf("%s: %v, %v", path, err, config)
				}
			case ".yaml":
				list := documents(t, path, content)
				if len(list) == 0 {
					t.Errorf("%s is empty", path)
				}
				for _, document := range list {
					if path != "config/registry.yaml" && (document["apiVersion"] == nil || document["kind"] == nil) {
						t.Errorf("%s: a document without apiVersion or kind: %v", path, document)
					}
				}
			default:
				t.Errorf("%s: no check for files of this kind", path)
			}
			return nil
		})
		if err != nil || count < 10 {
			t.Errorf("%d templates, %v", count, err)
		}
	}
}

func TestCoreDNSForwardsOnlyWithANameserver(t *testing.T) {
	n, issued := described(t)
	for _, has := range []bool{true, false} {
		s := filled(n, issued)
		s.HasNameserver = has
		content, err := render("manifests/coredns.yaml", s)
		if err != nil || strings.Contains(string(content), "forward . /etc/resolv.conf") != has {
			t.Errorf("nameserver %v: %v\n%s", has, err, content)
		}
	}
}

// A pod that asks a server on loopback asks itself.
func TestPodsUseNameserversBeyondLoopback(t *testing.T) {
	defer func(before []string) { resolvConfs = before }(resolvConfs)
	const real, none = "search example.com\nnameserver 192.0.2.53\n", "# No DNS servers known.\n"
	for _, c := range []struct {
		name, machine, behind string
		want                  int // index of the file
		has                   bool
	}{
		{"name servers in the network", real, none, 0, true},
		{"IPv6", "nameserver fe80::1%eth0\n", none, 0, true},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0\n", real, 1, true},
		{"systemd-resolved without a network", "nameserver 127.0.0.53\n", none, 0, false},
		{"dnsmasq", "nameserver 127.0.0.1\nnameserver ::1\n", none, 0, false},
		{"no name server", none, none, 0, false},
	} {
		folder := t.TempDir()
		resolvConfs = []string{filepath.Join(folder, "machine"), filepath.Join(folder, "behind"), filepath.Join(folder, "missing")}
		for i, content := range []string{c.machine, c.behind} {
			if err := os.WriteFile(resolvConfs[i], []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if path, has := hostResolvConf(); path != resolvConfs[c.want] || has != c.has {
			t.Errorf("%s: %s, %t; want %s, %t", c.name, path, has, resolvConfs[c.want], c.has)
		}
	}
}

func TestDualStackNodePrefersIPv6(t *testing.T) {
	n, _ := described(t)
	if err := file.Write(n.dualStack(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	issued, err := n.issue()
	if err != nil {
		t.Fatal(err)
	}
	s := filled(n, issued)
	for path, want := range map[string]string{
		"config/cni/10-platform.conflist": `[[{"subnet": "fd10:231::/64", "rangeStart": "fd10:231::10"}],[{"subnet": "10.231.0.0/24", "rangeStart": "10.231.0.10"}]]`,
		"config/kube-proxy.yaml":          "clusterCIDR: fd10:231::/64,10.231.0.0/24\n",
		"config/kubelet.yaml":             `clusterDNS: ["fd10:232::a"]`,
		"manifests/coredns.yaml":          `clusterIP: "fd10:232::a"`,
	} {
		if content, err := render(path, s); err != nil || !strings.Contains(string(content), want) {
			t.Errorf("%s: %v, want %s:\n%s", path, err, want, content)
		}
	}
	for _, want := range []string{"--advertise-address fd10:231::1", "--service-cluster-ip-range fd10:232::/112,10.232.0.0/24"} {
		if args := strings.Join(n.apiServerArgs(issued), " "); !strings.Contains(args, want) {
			t.Errorf("want %s: %s", want, args)
		}
	}
}

func TestNodeKeepsItsIPFamilies(t *testing.T) {
	n, _ := described(t)
	if err := os.MkdirAll(n.path("etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := n.Up(t.Context(), "", true, 0); err == nil || !strings.Contains(err.Error(), "make down") {
		t.Errorf("an IPv4 node became dual-stack: %v", err)
	}
}

func TestConfigurationUsesTheNodesOwnFiles(t *testing.T) {
	n, issued := described(t)
	if err := n.writeConfig(filled(n, issued), "config"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(n.path("config", "kubelet.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kubelet := documents(t, "kubelet.yaml", content)[0]
	for _, key := range []string{"tlsCertFile", "tlsPrivateKeyFile", "resolvConf"} {
		if path, _ := kubelet[key].(string); path == "" {
			t.Errorf("%s isn't set", key)
		} else if _, err := os.Stat(path); err != nil && key != "resolvConf" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if kubelet["cgroupRoot"] != "/"+Name || kubelet["address"] != n.address() {
		t.Errorf("kubelet %v", kubelet)
	}
	if content, err = os.ReadFile(n.path("config", "containerd.toml")); err != nil || !strings.Contains(string(content), `address = "`+n.containerdSocket()+`"`) {
		t.Errorf("containerd listens on another socket: %v\n%s", err, content)
	}
}

func TestEveryComponentFindsItsFiles(t *testing.T) {
	n, issued := described(t)
	if err := n.writeConfig(filled(n, issued), "config"); err != nil {
		t.Fatal(err)
	}
	var tools []string
	for _, tool := range toolchain.NodeTools() {
		tools = append(tools, tool.Name)
	}
	for _, c := range append(n.components(issued), n.dockerComponent()) {
		if len(c.reads) > 0 {
			if _, err := revision(c.reads...); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if _, ofDebian := programs[c.name]; !ofDebian && c.name != "dockerd" && !slices.Contains(tools, c.name) {
			t.Errorf("no package or tool provides %s", c.name)
		}
		for _, arg := range c.args {
			// Every user can see a command line, so it must refer to keys by their files.
			if strings.Contains(arg, "PRIVATE KEY") || slices.Contains(c.args, "") {
				t.Errorf("%s: arguments %q", c.name, c.args)
			}
			if strings.HasSuffix(arg, ".crt") || strings.HasSuffix(arg, ".key") || strings.HasSuffix(arg, ".kubeconfig") {
				if _, err := os.Stat(arg); err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
			}
		}
	}
}

func TestEveryPackageHasAProgram(t *testing.T) {
	for _, name := range append(slices.Clone(packages), "docker.io") {
		if programs[name] == "" {
			t.Errorf("no program identifies %s: it would be installed at every run", name)
		}
	}
}

func TestRevisionChangesWithTheFiles(t *testing.T) {
	folder := t.TempDir()
	a, b := filepath.Join(folder, "a"), filepath.Join(folder, "b")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	of := func() string {
		t.Helper()
		r, err := revision(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	write(a, "1")
	write(b, "2")
	before := of()
	write(a, "1") // only touched
	if of() != before {
		t.Error("the revision changes without a changed file")
	}
	write(b, "3")
	if of() == before {
		t.Error("the revision doesn't change with a file")
	}
	if _, err := revision(a, filepath.Join(folder, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCredentialsAreKeptAndPrivate(t *testing.T) {
	n, issued := described(t)
	read := func() map[string]string {
		t.Helper()
		contents := map[string]string{}
		err := filepath.WalkDir(n.layout.Node(), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			content, err := os.ReadFile(path)
			contents[path] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return contents
	}
	first := read()
	if first[issued.encryption] == "" || first[n.layout.Kubeconfig()] == "" {
		t.Errorf("no encryption key or no administrator's kubeconfig among %d files", len(first))
	}
	if _, err := n.issue(); err != nil {
		t.Fatal(err)
	}
	for path, content := range read() {
		if first[path] != content {
			t.Errorf("%s was issued again", path)
		}
	}
	documents(t, issued.encryption, []byte(first[issued.encryption]))
}
