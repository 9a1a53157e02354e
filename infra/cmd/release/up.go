package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// promote is up where nothing is built.
func (s *session) promote(ctx context.Context) error {
	if s.config.Build {
		return fmt.Errorf("stack %s builds its own images: `make release STACK=%s` releases them; to promote is to release on a stack "+
			"that takes what another has tested (promotesFrom)", s.stack, s.stack)
	}
	return s.up(ctx)
}

// up releases what the sources have, or the version that is asked for, watches it, and takes it back if it is bad.
func (s *session) up(ctx context.Context) error {
	return s.locked(ctx, func(ctx context.Context) error {
		told := &report.Report{Stack: s.stack, Command: "release", By: s.holder, Began: s.began}
		err := s.release(ctx, told)
		if len(told.Services) == 0 && len(told.Steps) == 0 {
			return err // nothing was begun
		}
		return errors.Join(err, s.end(ctx, told, err))
	})
}

func (s *session) release(ctx context.Context, told *report.Report) error {
	before, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if err := before[name].ByHand(name); err != nil { // the program would say so, too, later
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
	}
	for _, difference := range release.Drift(before) { // the program restores what it can
		s.out.say("%s", difference)
	}
	request, err := s.request(ctx, before)
	if err != nil {
		return err
	}
	var eye *watcher
	if !s.unwatched {
		if eye, err = s.openWatcher(ctx); err != nil {
			return fmt.Errorf("stack %s: nobody could watch the new version: %w: mend that, or release with UNWATCHED=1", s.stack, err)
		}
		defer eye.close()
	}
	s.notify(ctx, "start", "a release begins", nil)
	told.Steps, err = s.update(ctx, request, "release by "+s.holder)
	after, seen := s.outcome(context.WithoutCancel(ctx))
	if seen != nil {
		return errors.Join(err, seen)
	}
	switched := s.switched(moves(before, after), told.Steps)
	told.Services = switched
	if err != nil {
		told.Outcome, told.Why = report.Failed, err.Error()
		return errors.Join(err, s.undo(ctx, after, switched))
	}
	if len(switched) == 0 {
		told.Outcome, told.Why = report.Released, "what is wanted was live already"
		s.out.say("nothing to release: what is wanted is live")
		return nil
	}
	for _, move := range switched {
		s.out.say("live: %s", move)
	}
	s.notify(ctx, "switch", "the traffic has moved", switched)
	told.Outcome, told.Why = report.Released, "nobody watched it"
	if eye == nil {
		return nil
	}
	verdict, err := eye.watch(ctx, switched, s.watchTime(s.watch))
	if err != nil {
		told.Why = "the watch ended early: " + err.Error()
		return fmt.Errorf("the release is live, but the watch ended early: %w", err)
	}
	told.Why = verdict.String()
	if verdict.good() {
		s.out.say("%s", verdict)
		return nil
	}
	told.Outcome = report.TakenBack
	s.out.say("taking it back: %s", verdict)
	if after, err = s.outcome(ctx); err != nil {
		return err
	}
	return errors.Join(errTakenBack, s.takeBack(ctx, told, after, serviceNames(switched)))
}

// request is what the flags ask for, in the program's terms.
func (s *session) request(ctx context.Context, before map[string]release.Recorded) (release.Request, error) {
	if s.version == "" {
		return release.Request{Again: true}, nil
	}
	history, err := s.readHistory(ctx)
	if err != nil {
		return release.Request{}, err
	}
	wanted, err := history.Find(s.version)
	if err != nil {
		return release.Request{}, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	// The other services stay what they are, whatever their sources have.
	request, news := asItIs(before), false
	for name, deployed := range wanted {
		if _, there := before[name]; there && request.Services[name].Version != deployed.Version {
			request.Services[name], news = deployed, true
		}
	}
	if !news {
		return request, fmt.Errorf("stack %s: %s is live already: nothing to release", s.stack, s.version)
	}
	return request, nil
}

// undo gives the traffic back where an update failed after some of its services had switched: all of a release or none.
func (s *session) undo(ctx context.Context, recorded map[string]release.Recorded, switched []report.Service) error {
	if len(switched) == 0 {
		return nil
	}
	s.out.say("the update failed after %s had switched: giving the traffic back", strings.Join(serviceNames(switched), ", "))
	_, err := s.give(context.WithoutCancel(ctx), recorded, serviceNames(switched))
	return err
}

// switched adds to moves when pulumi changed the selectors.
func (s *session) switched(moves []report.Service, steps []report.Step) []report.Service {
	for i := range moves {
		for _, step := range steps {
			if step.Name == moves[i].Name+": switch" {
				moves[i].Switched = step.Began.Add(step.Took)
			}
		}
	}
	return moves
}

func serviceNames(moves []report.Service) []string {
	var names []string
	for _, move := range moves {
		names = append(names, move.Name)
	}
	return names
}

// outcomeTime is how long an API server may be away before nobody can tell what came of an update.
const outcomeTime = time.Minute

// outcome is what is true after an update, which may have switched: an API server that is away for a while is waited for.
func (s *session) outcome(ctx context.Context) (map[string]release.Recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, outcomeTime)
	defer cancel()
	for {
		after, err := s.recorded(ctx)
		if err == nil {
			return after, nil
		}
		s.out.say("waiting to see what came of it: %v", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Second):
		}
	}
}

// recorded is what is true on the cluster now, of the services of the catalog.
func (s *session) recorded(ctx context.Context) (map[string]release.Recorded, error) {
	found, err := s.cluster.Recorded(ctx)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	maps.DeleteFunc(found, func(name string, recorded release.Recorded) bool {
		_, known := s.services[name]
		return !known || recorded.Selected == "" && recorded.Mark.Live == ""
	})
	return found, nil
}

// readHistory is the releases that the stack's outputs hold.
func (s *session) readHistory(ctx context.Context) (release.History, error) {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return nil, err
	}
	outputs, err := workspace.Outputs(ctx)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, short(err))
	}
	text, err := json.Marshal(outputs[release.HistoryOutput].Value)
	if err != nil {
		return nil, err
	}
	var history release.History
	if err := json.Unmarshal(text, &history); err != nil {
		return nil, fmt.Errorf("stack %s: its output %s is not what the program writes: %w", s.stack, release.HistoryOutput, err)
	}
	return history, nil
}

// retire takes away what stands by.
func (s *session) retire(ctx context.Context) error {
	return s.locked(ctx, func(ctx context.Context) error {
		before, err := s.recorded(ctx)
		if err != nil {
			return err
		}
		var standing []string
		for _, name := range slices.Sorted(maps.Keys(before)) {
			if colour, former, stands := before[name].Standby(); stands {
				standing = append(standing, fmt.Sprintf("%s in %s (%s)", name, colour, former.Version))
			}
		}
		if len(standing) == 0 {
			s.out.say("nothing stands by")
			return nil
		}
		s.out.say("taking away %s", strings.Join(standing, ", "))
		request := asItIs(before)
		request.Retire = true
		_, err = s.update(ctx, request, "retired by "+s.holder)
		return err
	})
}

// asItIs asks for what is live, whatever the sources have: nothing is released on the way.
func asItIs(recorded map[string]release.Recorded) release.Request {
	request := release.Request{Services: map[string]release.Deployed{}}
	for name, is := range recorded {
		request.Services[name] = is.Released()
	}
	return request
}

// end writes the report and tells whoever wants to hear.
func (s *session) end(ctx context.Context, told *report.Report, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	told.Ended = time.Now()
	if failed != nil && told.Outcome == "" {
		told.Outcome, told.Why = report.Failed, failed.Error()
	}
	s.measure(ctx, told)
	page, err := report.Save(s.reports, *told)
	if err != nil {
		return fmt.Errorf("the report can't be written: %w", err)
	}
	s.out.say("report: %s", page)
	s.out.give(map[string]any{"outcome": told.Outcome, "why": told.Why, "report": page})
	s.notify(ctx, "end", fmt.Sprintf("%s: %s", told.Outcome, told.Why), nil)
	return nil
}
