// Package apiserver reads and patches objects of the cluster that the pod runs in, as the pod's
// ServiceAccount.
package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"platform.example/apps/internal/config"
)

// account is the directory in which the kubelet puts the credentials of the pod's ServiceAccount.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// Client is a client of the API server.
type Client struct {
	URL   string
	HTTP  *http.Client
	Token func() ([]byte, error) // called for each request, because the kubelet renews the token
}

// New returns a client for the pod's cluster, configured as by client-go's InClusterConfig.
func New(env *config.Env) (Client, error) {
	host := config.Parsed(env, "KUBERNETES_SERVICE_HOST", config.String)
	port := config.Parsed(env, "KUBERNETES_SERVICE_PORT", config.String)
	authority, unread := os.ReadFile(account + "ca.crt")
	roots, malformed := config.Certificates(string(authority))
	if err := errors.Join(env.Err(), unread, malformed); err != nil {
		return Client{}, err
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return Client{
		URL:   "https://" + net.JoinHostPort(host, port),
		HTTP:  &http.Client{Timeout: 10 * time.Second, Transport: transport},
		Token: func() ([]byte, error) { return os.ReadFile(account + "token") },
	}, nil
}

// Do sends a request. patch is a JSON patch (RFC 6902). The status is 200, 404 if the object doesn't exist,
// or 422 if a test of the patch fails; any other status is an error.
func (c Client) Do(ctx context.Context, method, path string, patch []byte) (status int, body []byte, err error) {
	token, err := c.Token()
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(patch))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	request.Header.Set("Content-Type", "application/json-patch+json")
	response, err := c.HTTP.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if !slices.Contains([]int{http.StatusOK, http.StatusNotFound, http.StatusUnprocessableEntity}, response.StatusCode) {
		return response.StatusCode, nil, fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, body, err
}
