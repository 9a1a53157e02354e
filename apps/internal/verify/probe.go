package verify

import (
	"cmp"
	"context"
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

	"golang.org/x/sync/errgroup"

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

// Probe is a request that shows whether a dependency works.
type Probe struct {
	Method, Path string
	Header       http.Header
	Want         []int  // the expected statuses
	Proof        string // a header that only the expected responder sends; "" if the status is enough
}

func (p Probe) String() string { return p.Method + " " + p.Path }

// exercise sends all requests to an endpoint and returns the durations of the measured ones.
func (v Verification) exercise(ctx context.Context, address string) (durations []time.Duration, err error) {
	client, closeIdle := v.clientOf(address)
	defer closeIdle()
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
			if groupCtx.Err() != nil {
				return groupCtx.Err()
			}
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
	request, err := http.NewRequestWithContext(ctx, probe.Method, to.String(), nil)
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

// clientOf returns a client that connects to one endpoint, whatever the host of a URL is, and a function that
// closes its connections.
func (v Verification) clientOf(address string) (client *http.Client, closeIdle func()) {
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: concurrency,
		DisableCompression:  true,
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, transport.CloseIdleConnections
}
