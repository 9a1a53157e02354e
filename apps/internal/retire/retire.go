// Package retire implements the subcommand that retires the standby colour after a release: it waits until
// the colour's time is over, and then applies the patches that the release has prepared.
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

// Orders states what to retire, and when.
type Orders struct {
	Lease    string  `json:"lease"` // API path of the Lease of releases: nothing is retired while it is held
	Services []Order `json:"services"`
}

// Order retires the standby colour of one service at the time At. Its JSON patches (RFC 6902) test the state
// that they were prepared for; the first failed test ends the order. Applying a patch again does no harm.
type Order struct {
	At      time.Time `json:"at"`
	Patches []struct {
		Path  string          `json:"path"`
		Patch json.RawMessage `json:"patch"`
	} `json:"patches"`
}

// Retirer executes orders.
type Retirer struct {
	API   apiserver.Client
	Pause time.Duration // between two tries
}

// Command executes the orders in the environment variable RETIREMENTS.
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

// Retire executes each order when its time has come. It retries failed orders until ctx is done.
func (r Retirer) Retire(ctx context.Context, orders Orders, out io.Writer) error {
	for i, order := range orders.Services {
		for wait := time.Until(order.At); ; wait = r.Pause {
			if backoff.Sleep(ctx, wait); ctx.Err() != nil {
				return ctx.Err()
			}
			result, err := r.execute(ctx, orders.Lease, order)
			if err == nil {
				_, _ = fmt.Fprintf(out, "retire: %d of %d: %s\n", i+1, len(orders.Services), result)
				break
			}
			_, _ = fmt.Fprintf(out, "retire: %v: trying again\n", err)
		}
	}
	return nil
}

func (r Retirer) execute(ctx context.Context, lease string, order Order) (result string, err error) {
	var lock struct {
		Spec struct{ HolderIdentity string }
	}
	status, body, err := r.API.Do(ctx, http.MethodGet, lease, nil)
	if err == nil && status == http.StatusOK {
		err = json.Unmarshal(body, &lock)
	}
	if err == nil && lock.Spec.HolderIdentity != "" {
		err = fmt.Errorf("%s is running a release", lock.Spec.HolderIdentity)
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
			return "another release has changed it since", nil
		}
	}
	return "retired", nil
}
