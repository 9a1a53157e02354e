package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"
	"golang.org/x/sync/errgroup"

	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// routingTime is how long a busy cluster takes to route connections by a new selector.
const routingTime = 2 * time.Second

// rollback moves the traffic of the last release's services back to the standby versions, then updates Pulumi's state.
func (s *session) rollback(ctx context.Context) error {
	var recorded map[string]release.Recorded
	var reading errgroup.Group
	reading.Go(func() (err error) { // while this run takes the Lease; patches test the revision, so they overwrite no later change
		recorded, err = s.recorded(ctx)
		return err
	})
	return s.locked(ctx, func(ctx context.Context) error {
		if err := reading.Wait(); err != nil {
			return err
		}
		affected, err := s.affected(recorded)
		if err != nil {
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
		if len(affected) == 0 {
			s.out.log("no service runs a release since %s: nothing to roll back", s.since.Format(time.RFC3339))
			return nil
		}
		result := &report.Report{Stack: s.stack, Command: "rollback", By: s.holder, Began: s.began, Outcome: report.TakenBack,
			Why: "requested by the rollback command"}
		err = s.rollBackServices(ctx, result, recorded, affected)
		return errors.Join(err, s.end(ctx, result, err))
	})
}

// affected returns the services that switched together last and have a standby version, or the one of -service. With -since,
// services that have not switched since then, or were rolled back already, stay: traffic would return to the bad version.
func (s *session) affected(recorded map[string]release.Recorded) ([]string, error) {
	if s.service != "" {
		if _, known := recorded[s.service]; !known {
			return nil, fmt.Errorf("there is no service %q: want one of %s", s.service, strings.Join(slices.Sorted(maps.Keys(recorded)), ", "))
		}
		_, err := release.TakeBack(s.service, recorded[s.service], time.Now())
		return []string{s.service}, err
	}
	var latest time.Time
	var reasons []error
	var affected []string
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		mark := recorded[name].Mark
		switched, back := mark.At, mark.TakenBack != "" && mark.TakenBack == mark.Standby.Version
		if switched.Before(s.since) || back && !s.since.IsZero() {
			continue
		}
		_, err := release.TakeBack(name, recorded[name], time.Now())
		switch {
		case err != nil:
			reasons = append(reasons, err)
		case switched.After(latest):
			latest, affected = switched, []string{name}
		case switched.Equal(latest):
			affected = append(affected, name)
		}
	}
	if len(affected) == 0 {
		return nil, errors.Join(reasons...)
	}
	return affected, nil
}

// rollBackServices moves the traffic back and then updates Pulumi's state.
func (s *session) rollBackServices(ctx context.Context, result *report.Report, recorded map[string]release.Recorded, services []string) error {
	began := time.Now()
	moves, err := s.moveBack(ctx, recorded, services)
	result.Steps = append(result.Steps, report.Step{Name: "move traffic back", Began: began, Took: time.Since(began), Failed: err != nil})
	if err != nil {
		return err
	}
	s.out.log("moved traffic back in %.0f ms: %s", time.Since(began).Seconds()*1000, joined(moves))
	markBack(result, moves)
	s.notify(ctx, "rollback", "traffic was moved back", moves)
	select { // on a small machine that also runs the cluster, pulumi would delay the routing
	case <-ctx.Done(): // reconcile reports it
	case <-time.After(routingTime):
	}
	steps, err := s.reconcile(ctx, "rollback by "+s.holder)
	result.Steps = append(result.Steps, steps...)
	if err != nil {
		return fmt.Errorf("traffic was moved back, but Pulumi's state wasn't updated: %w: run `pulumi up --stack %s`", err, s.stack)
	}
	return nil
}

// reconcile updates Pulumi's state to the actual state of the services.
func (s *session) reconcile(ctx context.Context, message string) ([]report.Step, error) {
	recorded, err := s.recorded(ctx)
	if err != nil {
		return nil, err
	}
	return s.update(ctx, asItIs(recorded), message)
}

// markBack adds the moves of a rollback to a report: as its services, or for a release as the time at which its services moved back.
func markBack(result *report.Report, moves []report.Service) {
	if result.Command == "rollback" {
		result.Services = moves
		return
	}
	for _, move := range moves {
		for i := range result.Services {
			if result.Services[i].Name == move.Name {
				result.Services[i].TakenBack = move.Switched
			}
		}
	}
}

// moveBack moves the traffic of the services to their standby versions, all at the same time. Recorded is their actual state.
func (s *session) moveBack(ctx context.Context, recorded map[string]release.Recorded, services []string) ([]report.Service, error) {
	now := time.Now()
	marks := map[string]release.Mark{}
	ready, patched := new(errgroup.Group), new(errgroup.Group)
	for _, name := range services {
		mark, err := release.TakeBack(name, recorded[name], now)
		if err != nil {
			return nil, fmt.Errorf("stack %s: %w", s.stack, err)
		}
		marks[name] = mark
		ready.Go(func() error { return s.ready(ctx, name, mark.Live) })
	}
	if err := ready.Wait(); err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	for name, mark := range marks {
		patched.Go(func() error { return s.cluster.Switch(ctx, name, recorded[name], mark) })
	}
	if err := patched.Wait(); err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	var moves []report.Service
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		standby, former, _ := recorded[name].Standby()
		moves = append(moves, moved(name, recorded[name], standby, former))
	}
	return moves, nil
}

// ready returns an error unless the colour has a ready pod.
func (s *session) ready(ctx context.Context, service string, colour release.Colour) error {
	pods, err := s.cluster.Endpoints(ctx, colour.Name(service))
	if err == nil && pods == 0 {
		err = fmt.Errorf("service %s: no pod of %s is ready: no traffic was moved", service, colour.Name(service))
	}
	return err
}

func joined(moves []report.Service) string {
	return strings.Join(slice.Map(moves, report.Service.String), ", ")
}
