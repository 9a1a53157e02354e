// Command release-demo releases another version of all four services on the platform of this machine under load, rolls it back,
// and prints what the users noticed. It runs in the repository's root, in a shell with the platform's environment. It asks no
// questions, and restores the sources' version at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"platform.example/test/command"
	"platform.example/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release-demo:", err)
		os.Exit(1)
	}
}

// services are the services to release. The demo changes their common code.
var services = []string{"api-gateway", "user-service", "order-service", "notification-service"}

// Time limits for a slow machine. If a step takes longer, the demo can't measure it and reports that.
const (
	releaseTime  = 3 * time.Minute
	rollbackTime = 33 * time.Second
)

// demo is one run of the demo.
type demo struct {
	root string
	run  *load.Run
}

func run(ctx context.Context) error {
	url := flag.String("url", "https://localhost:30443", "the address of the platform, on this machine")
	rate := flag.Float64("rate", 0, "requests per second (default: a third of the machine's capacity, at most 300)")
	rollbacks := flag.Int("rollbacks", 1, "number of rollbacks, at most 20")
	flag.Parse()
	if *rollbacks < 1 || *rollbacks > 20 {
		return fmt.Errorf("-rollbacks %d: want 1 to 20", *rollbacks)
	}
	folder, err := os.MkdirTemp("", "release-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	prepared, err := command.Prepare(ctx, "demo", folder, *url, *rate, releaseTime+time.Duration(*rollbacks)*rollbackTime)
	if err != nil {
		return err
	}
	root := prepared.Root
	d := &demo{root: root}
	d.run, err = load.Start(ctx, prepared.Usage)
	if err != nil {
		return err
	}
	shown := d.show(ctx, prepared.Next, *rollbacks)
	settled := d.run.Settle(context.WithoutCancel(ctx))
	result := d.run.Stop()
	fmt.Println(result.Summary())
	// Restore the version of the sources, without a standby version.
	clean := errors.Join(d.release(context.WithoutCancel(ctx), root, "up", "-unwatched"), d.release(context.WithoutCancel(ctx), root, "retire"))
	return errors.Join(shown, settled, result.Err(), clean)
}

// show releases the other version, and rolls back and forth.
func (d *demo) show(ctx context.Context, next string, rollbacks int) error {
	if err := command.Pause(ctx, 5*time.Second); err != nil {
		return err
	}
	first := d.live()
	if err := d.release(ctx, next, "up", "-watch", "35s"); err != nil {
		return err
	}
	d.reportSwitch("the release", first, d.live(), time.Time{})
	var took []time.Duration
	var ended error
	for len(took) < rollbacks && ended == nil {
		before, began := d.live(), time.Now()
		if err := d.release(ctx, d.root, "rollback"); err != nil {
			return err
		}
		if err := command.Pause(ctx, 2*time.Second); err != nil {
			return err
		}
		select {
		case <-d.run.Done(): // without load, no response shows the live colour
			ended = fmt.Errorf("the load ended after %d of %d rollbacks: use fewer rollbacks", len(took), rollbacks)
		default:
			took = append(took, d.reportSwitch("the rollback", before, d.live(), began))
		}
	}
	slices.Sort(took)
	if len(took) > 1 {
		fmt.Printf("from the command to the last response of the colour that lost the traffic, %d rollbacks: median %.0f ms, %.0f to %.0f ms\n",
			len(took), ms(took[len(took)/2]), ms(took[0]), ms(took[len(took)-1]))
	}
	return ended
}

// reportSwitch prints how long the previous colours kept responding, and returns the longest time since began.
func (d *demo) reportSwitch(what string, before, after map[string]string, began time.Time) time.Duration {
	result := load.Result{Samples: d.run.Samples(0)}
	var longest time.Duration
	for _, service := range services {
		if before[service] == after[service] {
			continue
		}
		var first, last time.Time // response of the new colour after the switch, and of the old colour
		last = result.LastResponseOf(service, before[service])
		for _, sample := range result.Samples {
			for _, by := range sample.By {
				received := sample.ReceivedAt()
				if by.Service == service && by.Colour == after[service] && received.After(began) && (first.IsZero() || received.Before(first)) {
					first = received
				}
			}
		}
		when := "after"
		if last.Before(first) {
			when = "before"
		}
		line := fmt.Sprintf("%s of %s: the last response of %s came %.0f ms %s the first response of %s", what, service, before[service],
			ms(last.Sub(first).Abs()), when, after[service])
		if !began.IsZero() {
			line += fmt.Sprintf(", and %.0f ms after the command", ms(last.Sub(began)))
			longest = max(longest, last.Sub(began))
		}
		fmt.Println(line)
	}
	return longest
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// live returns the colour of the last response of each service.
func (d *demo) live() map[string]string {
	colours := map[string]string{}
	samples := d.run.Samples(0)
	for _, sample := range slices.Backward(samples[max(0, len(samples)-500):]) {
		for _, by := range sample.By {
			if colours[by.Service] == "" {
				colours[by.Service] = by.Colour
			}
		}
	}
	return colours
}

// release runs the release command from a copy of the sources, and prints its output.
func (d *demo) release(ctx context.Context, folder string, arguments ...string) error {
	_, err := command.Release(ctx, d.root, folder, arguments...)
	return err
}
