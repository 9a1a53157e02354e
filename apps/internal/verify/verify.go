// Package verify implements the subcommand that verifies a colour before it becomes live: every replica runs
// the expected version, is healthy, and responds to real requests through all its dependencies, correctly and
// in time.
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
	// budget limits the whole run.
	budget = time.Minute
	// patience is for problems that end by themselves: names that resolve late, a dependency that is about to
	// recover.
	patience    = 30 * time.Second
	maxPatience = 45 * time.Second
	// rounded is the precision of the durations that people read.
	rounded = 10 * time.Microsecond
	// maxEndpoints is far more than a service has.
	maxEndpoints = 1000
)

// Probes returns one probe of each kind. Each call may return probes for another user. Probes change nothing
// and need no data.
type Probes func() ([]Probe, error)

// Verification states what a colour must fulfil.
type Verification struct {
	Self      config.Service // the expected name, version and colour of every endpoint
	At        *url.URL       // the colour's base URL; its host resolves to every endpoint
	Endpoints int            // the minimum number
	Latency   time.Duration  // the limit of a response
	Share     float64        // of the responses that must be within Latency, from 0 to 1
	Patience  time.Duration  // until all endpoints exist and are healthy
	Probes    Probes
	Resolve   func(ctx context.Context, host string) (addresses []string, err error)
}

// Command returns the command that verifies the colour in the environment of the service called name. probes
// reads its own environment variables.
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
		Latency:   config.Parsed(env, "VERIFY_LATENCY", config.Duration(time.Millisecond, requestTimeout)),
		Share:     config.Parsed(env, "VERIFY_LATENCY_SHARE", share),
		Patience:  config.ParsedOr(env, "VERIFY_PATIENCE", patience, config.Duration(0, maxPatience)),
		Resolve:   net.DefaultResolver.LookupHost,
	}
}

func share(raw string) (float64, error) {
	s, err := strconv.ParseFloat(raw, 64)
	if err != nil || !(s >= 0 && s <= 1) { // false for NaN
		return 0, fmt.Errorf("is %q: must be a number from 0 to 1, such as 0.99", raw)
	}
	return s, nil
}

// Result describes a colour that has passed.
type Result struct {
	Self             config.Service
	Endpoints, Calls int
	P50, P99         time.Duration // of the measured requests
}

func (r Result) String() string {
	return fmt.Sprintf("%s of %s responded correctly to %d requests: p50 %s, p99 %s",
		count(r.Endpoints, "endpoint"), identity{r.Self.Name, r.Self.Version, r.Self.Colour}, r.Calls, r.P50.Round(rounded), r.P99.Round(rounded))
}

// Run verifies the colour. Its error is one sentence: what is wrong, where, and what was expected. It
// contains no header and no body, and so no secret.
func (v Verification) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("the verification isn't done within %s", budget))
	defer cancel()
	addresses, err := v.await(ctx)
	if err != nil {
		return Result{}, err
	}
	result := Result{Self: v.Self, Endpoints: len(addresses)}
	var durations []time.Duration
	for _, address := range addresses { // one after the other: the live colour uses the same Postgres
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

// cause returns the reason why ctx is done.
func cause(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return errors.New("the verification was stopped")
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
