// Package retire is the subcommand that retires the standby version after a release:
// it waits until its time is over, and then applies the patches that the release left.
package retire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"platform.example/apps/internal/apiserver"
	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	"platform.example/apps/internal/service"
)

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

// Retirer carries out orders.
type Retirer struct {
	API   apiserver.Client
	Again time.Duration // pause before what didn't work is tried again
}

// Command carries out the orders of the environment.
func Command(ctx context.Context, p service.Process) error {
	env := config.From(p.Lookup)
	orders := config.Parsed(env, "RETIREMENTS", func(text string) (orders Orders, err error) {
		return orders, json.Unmarshal([]byte(text), &orders)
	})
	api, err := apiserver.New(env)
	if err != nil {
		return fmt.Errorf("retire: %w", err)
	}
	return Retirer{api, 15 * time.Second}.Retire(ctx, orders, p.Stdout)
}

// Retire carries out each order when its time has come. It tries again what doesn't
// work, until ctx is done.
func (r Retirer) Retire(ctx context.Context, orders Orders, out io.Writer) error {
	for i, order := range orders.Services {
		for wait := time.Until(order.At); ; wait = r.Again {
			if backoff.Sleep(ctx, wait); ctx.Err() != nil {
				return ctx.Err()
			}
			done, err := r.carryOut(ctx, orders.Lease, order)
			if err == nil {
				_, _ = fmt.Fprintf(out, "retire: %d of %d: %s\n", i+1, len(orders.Services), done)
				break
			}
			_, _ = fmt.Fprintf(out, "retire: %v: trying again\n", err)
		}
	}
	return nil
}

func (r Retirer) carryOut(ctx context.Context, lease string, order Order) (done string, err error) {
	var lock struct {
		Spec struct{ HolderIdentity string }
	}
	status, answer, err := r.API.Do(ctx, http.MethodGet, lease, nil)
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
		status, _, err := r.API.Do(ctx, http.MethodPatch, patch.Path, patch.Patch)
		switch {
		case err != nil:
			return "", err
		case status == http.StatusUnprocessableEntity:
			return "something else was released since", nil
		}
	}
	return "retired", nil
}
