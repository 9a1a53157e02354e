package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	callers "platform.example/apps/internal/identity" // distinct from the identity of an endpoint
	"platform.example/apps/internal/telemetry"
)

const (
	// warmUp is the number of requests that open connections and fill caches. They aren't measured.
	warmUp = 3
	// measured is the number of measured requests of each probe at each endpoint: a replica that fails one of
	// twenty requests passes once in 500 runs.
	measured = 120
	// concurrency is low because a new replica gets little processor time at first.
	concurrency = 3
	// requestTimeout is longer than the 5 s that the gateway waits for an upstream.
	requestTimeout   = 10 * time.Second
	maxResponseBytes = 4 << 20
)

// Probe is a GET request that shows whether a dependency works.
type Probe struct {
	Path   string
	Header http.Header
	Want   []int  // the expected statuses
	Proof  string // a header that only the expected responder sends; "" if the status is enough
}

func (p Probe) String() string { return "GET " + p.Path }

// exercise sends all requests to an endpoint and returns the durations of the measured ones.
func (v Verification) exercise(ctx context.Context, address string) (durations []time.Duration, err error) {
	client := v.clientOf(address)
	defer client.CloseIdleConnections()
	kinds, err := v.Probes()
	if err != nil {
		return nil, err
	}
	for kind := range kinds {
		if _, err := v.requests(ctx, client, address, kind, warmUp); err != nil {
			return nil, err
		}
		taken, err := v.requests(ctx, client, address, kind, measured)
		if err != nil {
			return nil, err
		}
		if err := v.checkLatency(taken); err != nil {
			return nil, fmt.Errorf("endpoint %s: %s: %w", address, kinds[kind], err)
		}
		durations = append(durations, taken...)
	}
	return durations, nil
}

// checkLatency fails if too many responses took longer than Latency.
func (v Verification) checkLatency(durations []time.Duration) error {
	slow := 0
	for _, d := range durations {
		if d > v.Latency {
			slow++
		}
	}
	if slow > allowed(len(durations), v.Share) {
		return fmt.Errorf("%d of %d responses took longer than %s (p99 %s)",
			slow, len(durations), v.Latency, percentile(durations, 0.99).Round(rounded))
	}
	return nil
}

// allowed returns how many of n responses may be slow: at least one, for a pause that has nothing to do with
// the colour.
func allowed(n int, share float64) int {
	const rounding = 1e-9 // 30*(1-0.9) is 3 - 4e-16
	return max(1, int(math.Floor(float64(n)*(1-share)+rounding)))
}

// percentile returns the smallest duration that the given share of durations doesn't exceed, or 0 if
// durations is empty.
func percentile(durations []time.Duration, share float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// requests sends n requests of one kind, a few at a time, until one fails.
func (v Verification) requests(ctx context.Context, client *http.Client, address string, kind, n int) ([]time.Duration, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	durations := make([]time.Duration, n)
	for i := range n {
		group.Go(func() error {
			probes, err := v.Probes()
			if err != nil {
				return err
			}
			if durations[i], err = v.request(groupCtx, client, probes[kind]); err != nil {
				return fmt.Errorf("endpoint %s: %s %w", address, probes[kind], err)
			}
			return nil
		})
	}
	err := group.Wait() // the first error: others may be its consequences
	if ctx.Err() != nil {
		return nil, fmt.Errorf("endpoint %s: %w", address, cause(ctx))
	}
	return durations, err
}

// request sends one request and returns its duration. Its error continues a sentence that begins with the
// probe.
func (v Verification) request(ctx context.Context, client *http.Client, probe Probe) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("it takes longer than %s", requestTimeout))
	defer cancel()
	start := time.Now()
	response, err := v.send(ctx, client, probe)
	if err != nil {
		return 0, fmt.Errorf("gets no response: %w", cmp.Or(context.Cause(ctx), err))
	}
	defer func() { _ = response.Body.Close() }()
	if !slices.Contains(probe.Want, response.StatusCode) {
		return 0, fmt.Errorf("responds with %d, want %s", response.StatusCode, strings.Trim(strings.ReplaceAll(fmt.Sprint(probe.Want), " ", " or "), "[]"))
	}
	if probe.Proof != "" && response.Header.Get(probe.Proof) == "" {
		return 0, fmt.Errorf("responds with %d without the header %s, so another service responded", response.StatusCode, probe.Proof)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxResponseBytes)); err != nil {
		return 0, fmt.Errorf("responds with %d and an incomplete body: %w", response.StatusCode, cmp.Or(context.Cause(ctx), err))
	}
	return time.Since(start), nil
}

// send sends a request with VerificationHeader. Its error contains no header.
func (v Verification) send(ctx context.Context, client *http.Client, probe Probe) (*http.Response, error) {
	to := *v.At
	path, query, _ := strings.Cut(probe.Path, "?")
	to.Path, to.RawQuery = strings.TrimSuffix(to.Path, "/")+path, query
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if probe.Header != nil {
		request.Header = probe.Header.Clone()
	}
	request.Header.Set(telemetry.VerificationHeader, "true")
	response, err := client.Do(request)
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // the caller's error names the URL and the method
	}
	return response, err
}

// clientOf returns a client that connects to one endpoint, whatever the host of a URL is.
func (v Verification) clientOf(address string) *http.Client {
	var dialer net.Dialer
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			MaxIdleConnsPerHost: concurrency,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// AsUnknownUser returns probes that send the request of probe with the identity of a user who doesn't exist,
// another one each time. If the path ends with a slash, the user's id is appended.
func AsUnknownUser(service string, probe Probe) func(*config.Env) Probes {
	return func(env *config.Env) Probes {
		signer := config.Parsed(env, "IDENTITY_KEYS", callers.ParseSigner)
		return func() ([]Probe, error) {
			user := callers.Caller{UserID: uuid.NewString(), Role: callers.User}
			signed, err := signer.Sign(user, service)
			if err != nil {
				return nil, err
			}
			p := probe
			p.Header = http.Header{callers.Header: {signed}}
			if p.Path[len(p.Path)-1] == '/' {
				p.Path += user.UserID
			}
			return []Probe{p}, nil
		}
	}
}

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
	var addresses []string
	for _, ip := range found {
		address := net.JoinHostPort(ip, port)
		if err := v.checkHealth(ctx, address); err != nil {
			return nil, fmt.Errorf("endpoint %s%w", address, err)
		}
		addresses = append(addresses, address)
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
	client := v.clientOf(address)
	defer client.CloseIdleConnections()
	response, err := v.send(ctx, client, Probe{Path: "/health"})
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
