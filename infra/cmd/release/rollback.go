package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// routingTime is how long a cluster that is busy takes to lead connections where a selector says.
const routingTime = 2 * time.Second

// rollback gives the traffic of the last release's services back to what stands by, at once, and has pulumi's state follow.
func (s *session) rollback(ctx context.Context) error {
	var recorded map[string]release.Recorded
	reading := make(chan error, 1)
	go func() { // while the lock is taken: what has changed meanwhile isn't overwritten
		var err error
		recorded, err = s.recorded(ctx)
		reading <- err
	}()
	return s.locked(ctx, func(ctx context.Context) error {
		if err := <-reading; err != nil {
			return err
		}
		affected, err := s.affected(recorded)
		if err != nil {
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
		told := &report.Report{Stack: s.stack, Command: "rollback", By: s.holder, Began: s.began, Outcome: report.TakenBack,
			Why: "somebody asked for it"}
		err = s.takeBack(ctx, told, recorded, affected)
		return errors.Join(err, s.end(ctx, told, err))
	})
}

// affected is the services that switched together last, and can go back; or the one that is asked for.
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
		_, err := release.TakeBack(name, recorded[name], time.Now())
		switched := recorded[name].Mark.At
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

// takeBack gives the traffic back and then has pulumi find out.
func (s *session) takeBack(ctx context.Context, told *report.Report, recorded map[string]release.Recorded, services []string) error {
	began := time.Now()
	given, err := s.give(ctx, recorded, services)
	told.Steps = append(told.Steps, report.Step{Name: "give the traffic back", Began: began, Took: time.Since(began), Failed: err != nil})
	if err != nil {
		return err
	}
	s.out.say("the traffic is back after %.0f ms: %s", time.Since(began).Seconds()*1000, joined(given))
	s.mark(told, given)
	s.notify(ctx, "rollback", "the traffic was given back", given)
	select { // not even on a small machine that runs the cluster, too, does pulumi stand in the way of the traffic
	case <-ctx.Done(): // which reconcile says
	case <-time.After(routingTime):
	}
	steps, err := s.reconcile(ctx, "rollback by "+s.holder)
	told.Steps = append(told.Steps, steps...)
	if err != nil {
		return fmt.Errorf("the traffic is back, but pulumi's state doesn't say so yet: %w: run `pulumi up --stack %s`", err, s.stack)
	}
	return nil
}

// reconcile has pulumi's state follow what is true on the cluster.
func (s *session) reconcile(ctx context.Context, message string) ([]report.Step, error) {
	recorded, err := s.recorded(ctx)
	if err != nil {
		return nil, err
	}
	return s.update(ctx, asItIs(recorded), message)
}

// mark notes in a report when the services went back: of a release those that it had moved, of a rollback its own.
func (s *session) mark(told *report.Report, given []report.Service) {
	if told.Command == "rollback" {
		told.Services = given
		return
	}
	for _, move := range given {
		for i := range told.Services {
			if told.Services[i].Name == move.Name {
				told.Services[i].TakenBack = move.Switched
			}
		}
	}
}

// give patches the selectors of the services, all at the same time. Recorded is what is true of them now.
func (s *session) give(ctx context.Context, recorded map[string]release.Recorded, services []string) ([]report.Service, error) {
	now := time.Now()
	marks := map[string]release.Mark{}
	ready, patched := new(errgroup.Group), new(errgroup.Group)
	for _, name := range services {
		mark, err := release.TakeBack(name, recorded[name], now)
		if err != nil {
			return nil, fmt.Errorf("stack %s: %w", s.stack, err)
		}
		marks[name] = mark
		// To be ready is what a colour that stands by has to be, and the last thing to find out too late.
		ready.Go(func() error { return s.ready(ctx, name, mark.Live) })
	}
	if err := ready.Wait(); err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	for name, mark := range marks {
		patched.Go(func() error { return s.cluster.Give(ctx, name, recorded[name], mark) })
	}
	if err := patched.Wait(); err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	var given []report.Service
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		standby, former, _ := recorded[name].Standby()
		given = append(given, moved(name, recorded[name], standby, former))
	}
	return given, nil
}

// ready is an error where a colour couldn't answer if it had the traffic.
func (s *session) ready(ctx context.Context, service string, colour release.Colour) error {
	pods, err := s.cluster.Endpoints(ctx, colour.Name(service))
	if err == nil && pods == 0 {
		err = fmt.Errorf("service %s: no pod of %s is ready: it can't have the traffic, which stays where it is", service, colour.Name(service))
	}
	return err
}

func joined(moves []report.Service) string {
	var texts []string
	for _, move := range moves {
		texts = append(texts, move.String())
	}
	return strings.Join(texts, ", ")
}
