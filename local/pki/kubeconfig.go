package pki

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"text/template"

	"platform.example/local/file"
)

var kubeconfig = template.Must(template.New("kubeconfig").Parse(`apiVersion: v1
kind: Config
clusters:
- name: {{.Cluster}}
  cluster:
    server: {{.Server}}
    certificate-authority-data: {{.Authority}}
users:
- name: {{.User}}
  user:
    client-certificate-data: {{.Cert}}
    client-key-data: {{.Key}}
contexts:
- name: {{.Cluster}}
  context: {cluster: {{.Cluster}}, user: {{.User}}}
current-context: {{.Cluster}}
`))

// WriteKubeconfig stores a self-contained kubeconfig of mode 0600 for the holder of the pair.
func (a *Authority) WriteKubeconfig(path, cluster, server, user string, pair Pair) error {
	var encoded [3]string
	for i, path := range []string{a.CertFile(), pair.Cert, pair.Key} {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", user, err)
		}
		encoded[i] = base64.StdEncoding.EncodeToString(content)
	}
	var content bytes.Buffer
	err := kubeconfig.Execute(&content, map[string]string{
		"Cluster": cluster, "Server": server, "User": user,
		"Authority": encoded[0], "Cert": encoded[1], "Key": encoded[2],
	})
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", user, err)
	}
	return file.Write(path, content.Bytes(), 0o600)
}
