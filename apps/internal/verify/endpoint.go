package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"platform.example/apps/internal/backoff"
)

const (
	retryAfter     = 250 * time.Millisecond
	lookUpTimeout  = 5 * time.Second
	healthTimeout  = 2 * time.Second
	maxHealthBytes = 4 << 10
)

// await waits until there are enough endpoints and all of them are as expected, and returns their addresses.
// After Patience it returns the last fault.
func (v Verification) await(ctx context.Context) (addresses []string, err error) {
	end := time.Now().Add(v.Patience)
	for {
		if addresses, err = v.endpoints(ctx); err == nil {
			return addresses, nil
		}
		if ctx.Err() != nil {
			return nil, cause(ctx)
		}
		if !time.Now().Add(retryAfter).Before(end) {
			return nil, err
		}
		backoff.Sleep(ctx, retryAfter)
	}
}

func (v Verification) endpoints(ctx context.Context) ([]string, error) {
	host, port := v.At.Hostname(), cmp.Or(v.At.Port(), v.At.Scheme) // net.Dial accepts a port name
	limited, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	found, err := v.Resolve(limited, host)
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		found, err = nil, nil // nothing is ready yet
	}
	if err != nil {
		return nil, fmt.Errorf("resolving the endpoints of %s: %w", host, err)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) < v.Endpoints {
		return nil, fmt.Errorf("%s has %s, want at least %d", host, count(len(found), "endpoint"), v.Endpoints)
	}
	addresses := make([]string, len(found))
	for i, ip := range found {
		addresses[i] = net.JoinHostPort(ip, port)
	}
	for _, address := range addresses {
		if err := v.checkHealth(ctx, address); err != nil {
			return nil, fmt.Errorf("endpoint %s%w", address, err)
		}
	}
	return addresses, nil
}

// identity is the release that an endpoint reports.
type identity struct{ Service, Version, Colour string }

func (i identity) String() string { return i.Service + " " + i.Version + " in " + i.Colour }

// checkHealth checks the identity and the health of an endpoint. Its error continues a sentence that begins
// with the name of the endpoint.
func (v Verification) checkHealth(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	client, closeIdle := v.clientOf(address)
	defer closeIdle()
	response, err := v.send(ctx, client, Probe{Method: http.MethodGet, Path: "/health"})
	if err != nil {
		return fmt.Errorf(": GET /health gets no response: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var reported struct {
		identity
		Status string
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxHealthBytes)).Decode(&reported)
	want := identity{v.Self.Name, v.Self.Version, v.Self.Colour}
	switch {
	case err != nil || reported.identity == (identity{}):
		return fmt.Errorf(": GET /health responds with %d and no identity, want %s", response.StatusCode, want)
	case reported.identity != want:
		expected := want.String()
		if reported.Service == want.Service {
			expected = strings.TrimPrefix(expected, want.Service+" ")
		}
		return fmt.Errorf(" runs %s, want %s", reported.identity, expected)
	case response.StatusCode != http.StatusOK || reported.Status != "ok":
		return fmt.Errorf(": GET /health responds with %d and %q, want 200 and \"ok\"", response.StatusCode, reported.Status)
	}
	return nil
}
