package smoke

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"platform.example/test/kit"
)

// stackSecrets returns the secret values of the stack, which only its passphrase decrypts, by name.
func stackSecrets(t *testing.T) map[string]string {
	t.Helper()
	config := kit.OutputJSON[map[string]struct {
		Value  string `json:"value"`
		Secret bool   `json:"secret"`
	}](t, "pulumi", "config", "--show-secrets", "--json", "--stack", "local")
	values := map[string]string{}
	for name, entry := range config {
		if entry.Secret {
			maps.Copy(values, secretParts(name, entry.Value))
		}
	}
	for _, name := range []string{"data/postgres", "data/redis-cache", "data/redis-stream", "edge/edge"} {
		namespace, server, _ := strings.Cut(name, "/")
		key := kit.Output(t, "kubectl", "get", "secret", server+"-certificate", "--namespace="+namespace, `--template={{index .data "tls.key" | base64decode}}`)
		maps.Copy(values, secretParts("certificate of "+name, key))
	}
	values["output demoPassword"] = strings.TrimSpace(kit.Output(t, "pulumi", "stack", "output", "demoPassword", "--show-secrets", "--stack", "local"))
	for _, name := range []string{
		"certificateAuthority", "postgresAdminPassword", "redisPassword", "streamPassword", "jwtKeys", "identityKeys", "webhookSecret", "demoUserPassword",
		"userServiceDatabasePassword", "orderServiceDatabasePassword", "notificationServiceDatabasePassword",
		"apiGatewayCachePassword", "userServiceCachePassword", "orderServiceStreamPassword", "notificationServiceStreamPassword",
	} {
		if values["platform:"+name+" 0"] == "" {
			t.Fatalf("the stack's configuration has no secret %s", name)
		}
	}
	for name, value := range values {
		if len(value) < 16 {
			t.Fatalf("%s is too short for a secret and for the search", name)
		}
	}
	return values
}

// secretParts returns the secret parts of a value: each password of a list, a key without its ID, and only the keys of
// certificates, line by line.
func secretParts(name, value string) map[string]string {
	var parts []string
	if strings.Contains(value, "-----BEGIN") {
		for rest := []byte(value); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if strings.HasSuffix(block.Type, "PRIVATE KEY") {
				lines := strings.Split(string(pem.EncodeToMemory(block)), "\n")
				parts = append(parts, lines[2]) // the first line of content is the same for all keys of a kind
			}
		}
	} else {
		for part := range strings.SplitSeq(value, ",") {
			if _, key, pair := strings.Cut(part, ":"); pair { // kid:key
				part = key
			}
			parts = append(parts, part)
		}
	}
	named := map[string]string{}
	for i, part := range parts {
		named[fmt.Sprintf("%s %d", name, i)] = part
	}
	return named
}

func TestSecretsAreInNoFileInPlainText(t *testing.T) {
	s := newSearch(stackSecrets(t))
	for _, place := range []struct{ name, path string }{
		{"the state backend", filepath.Join(kit.StateFolder, "pulumi", "backend")},
		{"the stack's configuration", "Pulumi.local.yaml"},
		{"the components' logs", filepath.Join(kit.StateFolder, "node", "logs")},
		{"the pods' logs", filepath.Join(kit.StateFolder, "node", "pod-logs")},
		{"etcd's data", filepath.Join(kit.StateFolder, "node", "etcd")},
		{"the node's configuration", filepath.Join(kit.StateFolder, "node", "config")},
	} {
		t.Run(place.name, func(t *testing.T) {
			found, read := s.underneath(t, place.path)
			if read == 0 {
				t.Fatalf("no file in %s", place.path)
			}
			for file, names := range found {
				t.Errorf("%s contains %v", file, names)
			}
		})
	}
}

// Every user of the machine can read command lines. The environments are those of the platform's own processes, which are in the
// supervisor's session.
func TestSecretsAreInNoProcessOutsideThePods(t *testing.T) {
	s := newSearch(stackSecrets(t))
	platform := kit.Supervised(t)["supervisor"].Session()
	ours := 0
	for _, p := range kit.Processes(t) {
		if p.InPod() {
			continue
		}
		program, _ := os.Readlink(p.Path("exe"))
		if names := s.inProcess(p, "cmdline"); len(names) > 0 {
			t.Errorf("the command line of process %d (%s) contains %v", p, program, names)
		}
		if p.Session() != platform {
			continue
		}
		ours++
		if names := s.inProcess(p, "environ"); len(names) > 0 {
			t.Errorf("the environment of process %d (%s) contains %v", p, program, names)
		}
	}
	if ours <= len(kit.ComponentNames()) {
		t.Errorf("found only %d processes of the platform", ours)
	}
}

func TestSecretsAreInNoOutput(t *testing.T) {
	s := newSearch(stackSecrets(t))
	for _, command := range [][]string{
		{"pulumi", "stack", "output", "--stack", "local"},
		{"pulumi", "stack", "output", "--json", "--stack", "local"},
		{"pulumi", "stack", "export", "--stack", "local"},
		{"pulumi", "config", "--stack", "local"},
		{"make", "-s", "env"},
		{"make", "-s", "status"},
		{"kubectl", "get", "deployments,statefulsets,pods,jobs,configmaps", "--all-namespaces", "--output=json"},
	} {
		if names := s.in([]byte(kit.Output(t, command...))); len(names) > 0 {
			t.Errorf("%s prints %v", strings.Join(command, " "), names)
		}
	}
}

func TestKeysAreReadableByTheirOwnerOnly(t *testing.T) {
	// File systems of other owners: images, containers and databases.
	foreign := map[string]bool{}
	for _, folder := range []string{"containerd", "docker", "registry", "run", "volumes"} {
		foreign[filepath.Join(kit.StateFolder, "node", folder)] = true
		for _, number := range []string{"2", "3"} { // of make up NODES=3
			foreign[filepath.Join(kit.StateFolder, "node", "nodes", number, folder)] = true
		}
	}
	private := map[string]bool{}
	err := filepath.WalkDir(kit.StateFolder, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist): // pods start and end
			return nil
		case err != nil:
			return err
		case foreign[path], entry.IsDir() && entry.Name() == "kubernetes.io~local-volume":
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Size() > maxKeyBytes || !isKey(path) {
			return nil
		}
		private[path] = true
		allowed := fs.FileMode(0o600)
		if strings.HasPrefix(path, filepath.Join(kit.StateFolder, "node")) && strings.Contains(path, "/kubelet/pods/") {
			allowed = 0o640 // files of the kubelet, which the pod's user reads as the volume's group, or of the pod
		}
		if mode := info.Mode().Perm(); mode&^allowed != 0 {
			t.Errorf("%s has mode %#o, want %#o or stricter", path, mode, allowed)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{
		"pulumi/passphrase", "node/admin.kubeconfig", "node/kubelet.kubeconfig", "node/pki/cluster/ca.key",
		"node/pki/cluster/service-account.key", "node/pki/etcd/etcd.key", "node/pki/encryption.yaml",
	} {
		if !private[filepath.Join(kit.StateFolder, known)] {
			t.Errorf("found no %s: the node is incomplete, or the test can't see files", known)
		}
	}
}

// maxKeyBytes is larger than any key or kubeconfig with a key.
const maxKeyBytes = 1 << 20

// isKey reports whether the file contains a private credential.
func isKey(path string) bool {
	if filepath.Base(path) == "passphrase" {
		return true
	}
	content, _ := os.ReadFile(path)
	for _, marker := range []string{"PRIVATE KEY-----", "client-key-data:", "client-key:", "kind: EncryptionConfiguration"} {
		if bytes.Contains(content, []byte(marker)) {
			return true
		}
	}
	return false
}
