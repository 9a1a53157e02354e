package node

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"

	"platform.example/local/file"
	"platform.example/local/pki"
)

// credentials are the files with which the components authenticate to each other.
type credentials struct {
	Cluster, etcd, frontProxy *pki.Authority

	apiServer, Kubelet, controllerManager, scheduler pki.Pair
	apiServerToEtcd, apiServerToKubelet, aggregator  pki.Pair
	etcdServer                                       pki.Pair
	tokenKey, tokenPublicKey                         string
	encryption                                       string
}

// issue creates missing certificates, keys and kubeconfigs.
func (n *Node) issue() (c credentials, err error) {
	if c.Cluster, err = pki.LoadOrCreate(n.path("pki", "cluster", "ca"), "platform cluster"); err != nil {
		return c, err
	}
	if c.etcd, err = pki.LoadOrCreate(n.path("pki", "etcd", "ca"), "platform etcd"); err != nil {
		return c, err
	}
	// A separate authority: the holder of a certificate of the cluster must not be able to call aggregated APIs in
	// the name of another user.
	if c.frontProxy, err = pki.LoadOrCreate(n.path("pki", "front-proxy", "ca"), "platform front proxy"); err != nil {
		return c, err
	}
	addresses := strings.Split(n.list(func(f family) string { return f.bridge + "," + f.api }), ",")
	for _, leaf := range []struct {
		pair      *pki.Pair
		authority *pki.Authority
		name      string
		subject   pki.Subject
	}{
		{&c.apiServer, c.Cluster, "kube-apiserver", pki.Subject{CommonName: "kube-apiserver", Hosts: append([]string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "127.0.0.1"},
			addresses...)}},
		{&c.Kubelet, c.Cluster, "kubelet", n.kubeletSubject()},
		{&c.controllerManager, c.Cluster, "kube-controller-manager", pki.Subject{
			CommonName: "system:kube-controller-manager", Hosts: []string{"127.0.0.1"}}},
		{&c.scheduler, c.Cluster, "kube-scheduler", pki.Subject{CommonName: "system:kube-scheduler", Hosts: []string{"127.0.0.1"}}},
		{&c.apiServerToKubelet, c.Cluster, "kube-apiserver-kubelet", pki.Subject{
			CommonName: "kube-apiserver-kubelet", Organization: "system:masters"}},
		{&c.apiServerToEtcd, c.etcd, "kube-apiserver-etcd", pki.Subject{CommonName: "kube-apiserver"}},
		{&c.etcdServer, c.etcd, "etcd", pki.Subject{CommonName: "etcd", Hosts: []string{"localhost", "127.0.0.1"}}},
		{&c.aggregator, c.frontProxy, "front-proxy-client", pki.Subject{CommonName: "front-proxy-client"}},
	} {
		if *leaf.pair, err = leaf.authority.Issue(leaf.name, leaf.subject); err != nil {
			return c, err
		}
	}
	if c.tokenKey, c.tokenPublicKey, err = pki.KeyPair(n.path("pki", "cluster", "service-account")); err != nil {
		return c, err
	}
	if c.encryption, err = n.encryptionConfig(); err != nil {
		return c, err
	}
	return c, n.writeKubeconfigs(c)
}

// writeKubeconfigs writes the kubeconfigs of the components and of the administrator.
func (n *Node) writeKubeconfigs(c credentials) error {
	admin, err := c.Cluster.Issue("admin", pki.Subject{CommonName: "platform-admin", Organization: "system:masters"})
	if err != nil {
		return err
	}
	holders := map[string]pki.Pair{
		"admin": admin, "kubelet": c.Kubelet, "kube-controller-manager": c.controllerManager, "kube-scheduler": c.scheduler,
	}
	for _, user := range []string{"kube-proxy", "kube-router", "storage-provisioner"} {
		if holders[user], err = c.Cluster.Issue(user, pki.Subject{CommonName: "system:" + user}); err != nil {
			return err
		}
	}
	for user, pair := range holders {
		if err := c.Cluster.WriteKubeconfig(n.kubeconfig(user), Name, n.apiServer(), user, pair); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) kubeconfig(user string) string { return n.path(user + ".kubeconfig") }

// encryptionConfig encrypts Secrets in etcd's files; the key is generated once.
func (n *Node) encryptionConfig() (string, error) {
	path := n.path("pki", "encryption.yaml")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never returns an error
	content := fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox:
      keys:
      - {name: "1", secret: %s}
`, base64.StdEncoding.EncodeToString(key))
	return path, file.Write(path, []byte(content), 0o600)
}
