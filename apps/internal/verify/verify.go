// Package verify is the subcommand by which a colour is verified before it gets
// traffic: whether every replica of it runs what is to be released, is well, and
// answers real calls through all that it depends on, correctly and in time.
package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"platform.example/apps/internal/config"
	"platform.example/apps/internal/service"
)

const (
	// budget is for the whole run. Nobody waits longer to hear that it fails.
	budget = time.Minute
	// patience is for what changes by itself: names that resolve a moment late,
	// a dependency that is about to come back.
	patience    = 30 * time.Second
	maxPatience = 45 * time.Second
	// maxEndpoints is far more than a service has.
	maxEndpoints = 1000
)

// Probes makes one call of each kind: anew each time, so that each may be for a
// user of its own. They change nothing and need nothing to be there.
type Probes func() ([]Probe, error)

// Verification is what is to hold of a colour.
type Verification struct {
	Self      config.Service // what every endpoint must say that it is
	At        *url.URL       // where the colour answers; its host resolves to every endpoint
	Endpoints int            // how many there must be at least
	Latency   time.Duration  // that an answer may take
	Share     float64        // of the answers that must not take longer, from 0 to 1
	Patience  time.Duration  // until all endpoints are there and well
	Probes    Probes
	Resolve   func(ctx context.Context, host string) (addresses []string, err error)
}

// Command verifies the colour that the service called name has in its
// environment. What the probes need of that, they read of it.
func Command(name string, probes func(*config.Env) Probes) service.Command {
	return func(ctx context.Context, p service.Process) error {
		env := config.From(p.Lookup)
		v := read(env, name)
		v.Probes = probes(env)
		if err := env.Err(); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		result, err := v.Run(ctx)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		_, err = fmt.Fprintf(p.Stdout, "verify: %s\n", result)
		return err
	}
}

func read(env *config.Env, name string) Verification {
	return Verification{
		Self:      config.ReadService(env, name),
		At:        config.Parsed(env, "VERIFY_URL", config.HTTPURL),
		Endpoints: config.Parsed(env, "VERIFY_ENDPOINTS", config.Int(1, maxEndpoints)),
		Latency:   config.Parsed(env, "VERIFY_LATENCY", config.Duration(time.Millisecond, callTimeout)),
		Share:     config.Parsed(env, "VERIFY_LATENCY_SHARE", share),
		Patience:  config.ParsedOr(env, "VERIFY_PATIENCE", patience, config.Duration(0, maxPatience)),
		Resolve:   net.DefaultResolver.LookupHost,
	}
}

func share(raw string) (float64, error) {
	s, err := strconv.ParseFloat(raw, 64)
	if err != nil || !(s >= 0 && s <= 1) { // the latter is true of NaN
		return 0, fmt.Errorf("is %q: must be a number from 0 to 1, such as 0.99", raw)
	}
	return s, nil
}

// Result is what was seen of a colour that is as it must be.
type Result struct {
	Self             config.Service
	Endpoints, Calls int
	P50, P99         time.Duration // of the calls that count
}

func (r Result) String() string {
	return fmt.Sprintf("%s of %s answered %d calls well: p50 %s, p99 %s",
		count(r.Endpoints, "endpoint"), identity{r.Self.Name, r.Self.Version, r.Self.Colour}, r.Calls, short(r.P50), short(r.P99))
}

// Run verifies. Its error is one sentence: what was wrong, where, and what was
// wanted. It holds no secret: neither headers nor bodies are told.
func (v Verification) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("it isn't done within %s", budget))
	defer cancel()
	addresses, err := v.await(ctx)
	if err != nil {
		return Result{}, err
	}
	result := Result{Self: v.Self, Endpoints: len(addresses)}
	var durations []time.Duration
	for _, address := range addresses { // in turns: it is the others' Postgres, too
		taken, err := v.exercise(ctx, address)
		if err != nil {
			return Result{}, err
		}
		durations = append(durations, taken...)
	}
	result.Calls = len(durations)
	result.P50, result.P99 = percentile(durations, 0.50), percentile(durations, 0.99)
	return result, nil
}

// cause is why ctx is done, in words.
func cause(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return errors.New("it was stopped")
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// short tells a duration as exactly as it is of interest.
func short(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
