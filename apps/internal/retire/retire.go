// Package retire is the subcommand that ends the time of what stands by after a
// release: it waits until then, and patches the cluster's objects as it was told at
// the release.
package retire

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/service"
)

// account is where the kubelet puts the credentials of the pod's ServiceAccount.
const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

// Orders is what is to be retired, and when.
type Orders struct {
	Lease    string  `json:"lease"` // path of the lock of releases: nothing is retired while it is held
	Services []Order `json:"services"`
}

// Order is for one service. Its patches are JSON patches (RFC 6902) that test what
// they were made for: the first whose test fails ends it. Repeated, they do no harm.
type Order struct {
	At      time.Time `json:"at"`
	Patches []struct {
		Path  string          `json:"path"`
		Patch json.RawMessage `json:"patch"`
	} `json:"patches"`
}

// API is the cluster's API server.
type API struct {
	URL    string
	Client *http.Client
	Token  func() ([]byte, error) // read for each request: the kubelet renews it
	Again  time.Duration          // pause before what didn't work is tried again
}

// Command carries out the orders of the environment.
func Command(ctx context.Context, p service.Process) error {
	env := config.From(p.Lookup)
	orders := config.Parsed(env, "RETIREMENTS", func(text string) (orders Orders, err error) {
		return orders, json.Unmarshal([]byte(text), &orders)
	})
	host := config.Parsed(env, "KUBERNETES_SERVICE_HOST", config.String)
	port := config.Parsed(env, "KUBERNETES_SERVICE_PORT", config.String)
	authority, unread := os.ReadFile(account + "ca.crt")
	roots, malformed := config.Certificates(string(authority))
	if err := errors.Join(env.Err(), unread, malformed); err != nil {
		return fmt.Errorf("retire: %w", err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	return API{
		URL:    "https://" + net.JoinHostPort(host, port),
		Client: &http.Client{Timeout: 10 * time.Second, Transport: transport},
		Token:  func() ([]byte, error) { return os.ReadFile(account + "token") },
		Again:  15 * time.Second,
	}.Retire(ctx, orders, p.Stdout)
}

// Retire carries out each order when its time has come. It tries again what doesn't
// work, until ctx is done.
func (a API) Retire(ctx context.Context, orders Orders, out io.Writer) error {
	for i, order := range orders.Services {
		for wait := time.Until(order.At); ; wait = a.Again {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
			done, err := a.carryOut(ctx, orders.Lease, order)
			if err == nil {
				_, _ = fmt.Fprintf(out, "retire: %d of %d: %s\n", i+1, len(orders.Services), done)
				break
			}
			_, _ = fmt.Fprintf(out, "retire: %v: trying again\n", err)
		}
	}
	return nil
}

func (a API) carryOut(ctx context.Context, lease string, order Order) (done string, err error) {
	var lock struct {
		Spec struct{ HolderIdentity string }
	}
	status, answer, err := a.ask(ctx, http.MethodGet, lease, nil)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(answer, &lock)
	}
	if err == nil && lock.Spec.HolderIdentity != "" {
		err = fmt.Errorf("%s is at a release", lock.Spec.HolderIdentity)
	}
	if err != nil {
		return "", err
	}
	for _, patch := range order.Patches {
		status, _, err := a.ask(ctx, http.MethodPatch, patch.Path, patch.Patch)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusUnprocessableEntity:
			return "something else was released since", nil
		}
	}
	return "retired", nil
}

// ask sends a request. It is no error where the object is gone, or a test of a patch fails.
func (a API) ask(ctx context.Context, method, path string, patch []byte) (status int, answer []byte, err error) {
	token, err := a.Token()
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(patch))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	request.Header.Set("Content-Type", "application/json-patch+json")
	response, err := a.Client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if !slices.Contains([]int{http.StatusOK, http.StatusNotFound, http.StatusUnprocessableEntity}, response.StatusCode) {
		return response.StatusCode, nil, fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, answer, err
}
