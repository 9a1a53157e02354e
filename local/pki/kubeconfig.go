package pki

import (
	"encoding/base64"
	"fmt"
	"os"

	"platform.example/local/file"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[4]s
users:
- name: %[3]s
  user:
    client-certificate-data: %[5]s
    client-key-data: %[6]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[3]s}
current-context: %[1]s
`

// WriteKubeconfig writes a self-contained kubeconfig with mode 0600 for the user of the certificate.
func (a *Authority) WriteKubeconfig(path, cluster, server, user string, pair Pair) error {
	var encoded [3]string
	for i, path := range []string{a.CertFile(), pair.Cert, pair.Key} {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", user, err)
		}
		encoded[i] = base64.StdEncoding.EncodeToString(content)
	}
	return file.Write(path, fmt.Appendf(nil, kubeconfig, cluster, server, user, encoded[0], encoded[1], encoded[2]), 0o600)
}
