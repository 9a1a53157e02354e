// Command scorecard measures delivery on the platform of this machine under load: a release of all four services, its rollback, and the
// recovery after all pods of a service were deleted. It writes the figures, with those of the history of releases, to
// .build/scorecard.html and .build/scorecard.json. It runs in the repository's root, in a shell with the platform's environment, asks no
// questions, and restores the sources' version at the end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
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
		fmt.Fprintln(os.Stderr, "scorecard:", err)
		os.Exit(1)
	}
}

const (
	quiet    = 20 * time.Second // of load before and after each change
	patience = 45 * time.Second // for the recovery of a service
)

// killed are the services whose pods are deleted, one after the other.
var killed = []string{"user-service", "order-service", "notification-service"}

func run(ctx context.Context) error {
	url := flag.String("url", "https://localhost:30443", "the address of the platform, on this machine")
	rate := flag.Float64("rate", 0, "requests per second (default: a third of the machine's capacity, at most 300)")
	flag.Parse()
	folder, err := os.MkdirTemp("", "scorecard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	prepared, err := command.Prepare(ctx, "scorecard", folder, *url, *rate, 12*time.Minute)
	if err != nil {
		return err
	}
	root, usage := prepared.Root, prepared.Usage
	var m measured
	if m.delivery, err = readDelivery(ctx, root); err != nil { // before the releases of this measurement
		return err
	}
	changes, err := m.release(ctx, usage, root, prepared.Next)
	if err == nil {
		var deletions []time.Time
		deletions, err = m.kill(ctx, usage)
		for _, at := range deletions {
			changes = append(changes, change{at.Sub(m.released.Began).Seconds(), true})
		}
	}
	if err == nil {
		err = m.write(root, usage.Rate, changes)
	}
	// Restore the version of the sources, without a standby version.
	for _, arguments := range [][]string{{"up", "-unwatched"}, {"retire"}} {
		_, failed := command.Release(context.WithoutCancel(ctx), root, root, arguments...)
		err = errors.Join(err, failed)
	}
	return err
}

// release releases the other version under load and rolls it back.
func (m *measured) release(ctx context.Context, usage load.Options, root, next string) (changes []change, err error) {
	traffic, err := load.Start(ctx, usage)
	if err != nil {
		return nil, err
	}
	defer func() {
		m.released = traffic.Stop()
		fmt.Println(m.released.Summary())
		err = errors.Join(err, traffic.Settle(context.WithoutCancel(ctx)))
	}()
	if err := command.Pause(ctx, quiet); err != nil {
		return nil, err
	}
	began := time.Now()
	lines, err := command.Release(ctx, root, next, "up", "-watch", "35s")
	if err != nil {
		return nil, err
	}
	switched := lastSwitch(lines)
	if switched.IsZero() {
		return nil, errors.New("the release has switched no service")
	}
	m.deployment = switched.Sub(began)
	former := lastVersions(traffic.Samples(0))
	back := time.Now()
	if _, err := command.Release(ctx, root, root, "rollback"); err != nil {
		return nil, err
	}
	if err := command.Pause(ctx, quiet); err != nil {
		return nil, err
	}
	m.rollback = lastResponse(traffic.Samples(0), former).Sub(back)
	start := traffic.Samples(0)[0].At
	return []change{{switched.Sub(start).Seconds(), false}, {back.Sub(start).Seconds(), true}}, nil
}

// lastSwitch is when the last service switched, or zero.
func lastSwitch(lines []command.Line) (at time.Time) {
	for _, line := range lines {
		if strings.HasSuffix(line.Step, ": switch") && line.At.After(at) {
			at = line.At
		}
	}
	return at
}

// lastVersions is the version that answered last, by service.
func lastVersions(samples []load.Sample) map[string]string {
	versions := map[string]string{}
	for _, sample := range samples {
		for _, by := range sample.By {
			versions[by.Service] = by.Version
		}
	}
	return versions
}

// lastResponse is the time of the last response of any of the versions.
func lastResponse(samples []load.Sample, versions map[string]string) (last time.Time) {
	for service, version := range versions {
		if at := (load.Result{Samples: samples}).LastResponseOf(service, version); at.After(last) {
			last = at
		}
	}
	return last
}

// kill deletes all pods of each service under load, and returns the times of the deletions.
func (m *measured) kill(ctx context.Context, usage load.Options) (deletions []time.Time, err error) {
	traffic, err := load.Start(ctx, usage)
	if err != nil {
		return nil, err
	}
	defer func() {
		m.killed = traffic.Stop()
		fmt.Println(m.killed.Line())
		err = errors.Join(err, traffic.Settle(context.WithoutCancel(ctx)))
	}()
	for _, service := range killed {
		if err := command.Pause(ctx, quiet); err != nil {
			return deletions, err
		}
		seen, at := len(traffic.Samples(0)), time.Now()
		output, err := exec.CommandContext(ctx, "kubectl", "delete", "pods", "--namespace=apps", "--selector=app.kubernetes.io/name="+service,
			"--force", "--grace-period=0", "--wait=false").CombinedOutput()
		if err != nil {
			return deletions, fmt.Errorf("delete the pods of %s: %w: %s", service, err, output)
		}
		deletions = append(deletions, at)
		if err := command.Pause(ctx, patience); err != nil {
			return deletions, err
		}
		took, recovered := recovery(traffic.Samples(seen), service, at)
		if !recovered {
			return deletions, fmt.Errorf("%s has not recovered %s after the deletion of its pods", service, patience)
		}
		fmt.Printf("%s recovered %.1f s after the deletion of its pods\n", service, took.Seconds())
		m.recoveries = append(m.recoveries, took)
	}
	return deletions, nil
}

// readDelivery computes the DORA figures of the stack local.
func readDelivery(ctx context.Context, root string) (delivery, error) {
	lines, err := command.Release(ctx, root, root, "history")
	if err != nil {
		return delivery{}, err
	}
	var history []release
	for _, line := range lines {
		if line.Releases != nil {
			if err := json.Unmarshal(line.Releases, &history); err != nil {
				return delivery{}, fmt.Errorf("read the history of releases: %w", err)
			}
		}
	}
	return deliver(history, time.Now(), func(commit string) (time.Time, bool) {
		printed, err := exec.CommandContext(ctx, "git", "-C", root, "show", "--no-patch", "--format=%cI", commit).Output()
		if err != nil {
			return time.Time{}, false
		}
		at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(printed)))
		return at, err == nil
	}), nil
}

// write prints the figures and saves the scorecard.
func (m *measured) write(root string, rate float64, changes []change) error {
	card := scorecard{At: time.Now(), Rate: rate, Figures: m.figures(), Plots: plots(*m, changes)}
	for _, line := range card.Figures {
		fmt.Printf("%-24s %s\n", line.Name, line.Text)
	}
	if err := card.save(root, filepath.Join(root, ".build")); err != nil {
		return err
	}
	fmt.Println(filepath.Join(".build", "scorecard.html"))
	return nil
}
