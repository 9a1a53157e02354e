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
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"platform.example/apps/internal/telemetry"
)

const (
	// warmUp calls open connections and fill caches; they needn't be quick.
	warmUp = 3
	// counted is how many calls of each probe count at each endpoint: so many
	// that a replica which answers one of twenty wrongly gets through once in 500.
	counted = 120
	// atOnce is a few: a replica that is new has little processor time at first.
	atOnce = 3
	// callTimeout is longer than the 5 s that the gateway gives an upstream.
	callTimeout    = 10 * time.Second
	maxAnswerBytes = 4 << 20
)

// Probe is a call that shows whether a dependency is there.
type Probe struct {
	Method, Path string
	Header       http.Header
	Want         []int  // the statuses of a right answer
	Proof        string // a header that only who is to answer sends; "" where the status is proof enough
}

func (p Probe) String() string { return p.Method + " " + p.Path }

// exercise makes all calls to an endpoint and returns how long those took that count.
func (v Verification) exercise(ctx context.Context, address string) (durations []time.Duration, err error) {
	client, closeIdle := v.clientOf(address)
	defer closeIdle()
	kinds, err := v.Probes()
	if err != nil {
		return nil, err
	}
	for kind := range kinds {
		if _, err := v.calls(ctx, client, address, kind, warmUp); err != nil {
			return nil, err
		}
		taken, err := v.calls(ctx, client, address, kind, counted)
		if err != nil {
			return nil, err
		}
		if err := v.judge(taken); err != nil {
			return nil, fmt.Errorf("endpoint %s: %s: %w", address, kinds[kind], err)
		}
		durations = append(durations, taken...)
	}
	return durations, nil
}

// judge says whether too many of the answers took too long.
func (v Verification) judge(durations []time.Duration) error {
	slow := 0
	for _, d := range durations {
		if d > v.Latency {
			slow++
		}
	}
	if slow > allowed(len(durations), v.Share) {
		return fmt.Errorf("%d of %d answers took longer than %s (p99 %s)",
			slow, len(durations), v.Latency, short(percentile(durations, 0.99)))
	}
	return nil
}

// allowed is how many of n answers may be slow: one always, for a pause that
// has nothing to do with the colour.
func allowed(n int, share float64) int {
	const rounding = 1e-9 // 30*(1-0.9) is 3 - 4e-16
	return max(1, int(math.Floor(float64(n)*(1-share)+rounding)))
}

// percentile is the least of durations that so large a share doesn't exceed; 0 of none.
func percentile(durations []time.Duration, share float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// calls makes n calls of one kind, a few at a time. The first one that is
// answered wrongly ends them.
func (v Verification) calls(ctx context.Context, client *http.Client, address string, kind, n int) ([]time.Duration, error) {
	calling, calls := errgroup.WithContext(ctx)
	calling.SetLimit(atOnce)
	durations := make([]time.Duration, n)
	for i := range n {
		calling.Go(func() error {
			if calls.Err() != nil {
				return calls.Err()
			}
			probes, err := v.Probes()
			if err != nil {
				return err
			}
			if durations[i], err = v.call(calls, client, probes[kind]); err != nil {
				return fmt.Errorf("endpoint %s: %s %w", address, probes[kind], err)
			}
			return nil
		})
	}
	err := calling.Wait() // the first: others may follow from it
	if ctx.Err() != nil {
		return nil, fmt.Errorf("endpoint %s: %w", address, cause(ctx))
	}
	return durations, err
}

// call makes one call. Its error goes on after the name of the probe.
func (v Verification) call(ctx context.Context, client *http.Client, probe Probe) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("it takes longer than %s", callTimeout))
	defer cancel()
	begin := time.Now()
	response, err := v.send(ctx, client, probe)
	if err != nil {
		return 0, fmt.Errorf("gets no answer: %w", cmp.Or(context.Cause(ctx), err))
	}
	defer func() { _ = response.Body.Close() }()
	if !slices.Contains(probe.Want, response.StatusCode) {
		return 0, fmt.Errorf("answers %d, want %s", response.StatusCode, statuses(probe.Want))
	}
	if probe.Proof != "" && response.Header.Get(probe.Proof) == "" {
		return 0, fmt.Errorf("answers %d without %s, want it from whom the call is for", response.StatusCode, probe.Proof)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswerBytes)); err != nil {
		return 0, fmt.Errorf("answers %d and breaks off: %w", response.StatusCode, cmp.Or(context.Cause(ctx), err))
	}
	return time.Since(begin), nil
}

func statuses(want []int) string {
	texts := make([]string, len(want))
	for i, status := range want {
		texts[i] = strconv.Itoa(status)
	}
	return strings.Join(texts, " or ")
}

// send sends a request of the verification's. Its error names no header.
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
		err = failed.Err // where and what is said by the caller
	}
	return response, err
}

// clientOf returns a client that reaches one endpoint, whatever the name of the
// colour resolves to, and what closes its connections.
func (v Verification) clientOf(address string) (client *http.Client, closeIdle func()) {
	var dialer net.Dialer
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		MaxIdleConnsPerHost: atOnce,
		DisableCompression:  true,
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, transport.CloseIdleConnections
}
