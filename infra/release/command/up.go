package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/cluster"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// promote is up for stacks that build nothing.
func (s *session) promote(ctx context.Context) error {
	if s.config.Build {
		return fmt.Errorf("stack %s builds its own images: use `make release STACK=%s`; promote is for stacks that release another "+
			"stack's versions (promotesFrom)", s.stack, s.stack)
	}
	if s.commit != "" && !fullCommit.MatchString(s.commit) {
		return fmt.Errorf("commit %q: want the full hash of a commit, as `git rev-parse <tag>^{commit}` prints it", s.commit)
	}
	return s.up(ctx)
}

// fullCommit matches the hash of a commit of git.
var fullCommit = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// tested records that the live versions passed the tests.
func (s *session) tested(ctx context.Context) error {
	if !fullCommit.MatchString(s.commit) {
		return fmt.Errorf("commit %q: want the full hash of the tested commit, as `git rev-parse HEAD` prints it", s.commit)
	}
	return s.locked(ctx, func(ctx context.Context) error {
		live, err := s.recorded(ctx)
		if err != nil {
			return err
		}
		request := asItIs(live)
		request.Tested = s.commit
		_, err = s.update(ctx, request, "tested by "+s.holder)
		return err
	})
}

// up releases the sources or the requested version, watches it, and rolls it back if it is bad.
func (s *session) up(ctx context.Context) error {
	do := func(ctx context.Context) error {
		result := &report.Report{Stack: s.stack, Command: "release", By: s.holder, Began: s.began}
		err := s.release(ctx, result)
		if len(result.Services) == 0 && len(result.Steps) == 0 {
			return err // nothing began
		}
		return errors.Join(err, s.end(ctx, result, err))
	}
	err := s.locked(ctx, do)
	if errors.Is(err, cluster.ErrNoNamespace) { // the first release creates the namespace of the Lease
		return do(ctx)
	}
	return err
}

func (s *session) release(ctx context.Context, result *report.Report) error {
	before, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if err := before[name].ByHand(name); err != nil { // the Pulumi program would fail with it later
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
	}
	for _, difference := range release.Drift(before) { // the Pulumi program restores these
		s.out.log("%s", difference)
	}
	request, err := s.request(ctx, before)
	if err != nil {
		return err
	}
	var w *watcher
	if len(before) == 0 {
		s.out.log("the first release: there is no version to compare it with, so it isn't watched")
	} else if !s.unwatched {
		if w, err = s.openWatcher(ctx); err != nil {
			return fmt.Errorf("stack %s: the new version can't be watched: %w: fix that, or release with UNWATCHED=1", s.stack, err)
		}
		defer w.close()
	}
	s.notify(ctx, "start", "a release begins", nil)
	result.Steps, err = s.update(ctx, request, "release by "+s.holder)
	after, unknown := s.outcome(context.WithoutCancel(ctx))
	if unknown != nil {
		return errors.Join(err, unknown)
	}
	switched := moves(before, after)
	setSwitchTimes(switched, result.Steps)
	result.Services = switched
	if err != nil {
		result.Outcome, result.Why = report.Failed, err.Error()
		return errors.Join(err, s.undo(ctx, after, switched))
	}
	if len(before) == 0 {
		result.Outcome, result.Why = report.Released, "the first release"
		s.out.log("the first versions are live")
		return nil
	}
	if len(switched) == 0 {
		result.Outcome, result.Why = report.Released, "the wanted versions were live already"
		s.out.log("nothing to release: the wanted versions are live")
		return nil
	}
	for _, move := range switched {
		s.out.log("live: %s", move)
	}
	s.notify(ctx, "switch", "traffic has moved", switched)
	result.Outcome, result.Why = report.Released, "not watched"
	if w == nil {
		return nil
	}
	verdict, err := w.watch(ctx, switched, s.watchTime(s.watch))
	if err != nil {
		result.Why = "the watch ended early: " + err.Error()
		return fmt.Errorf("the release is live, but the watch ended early: %w", err)
	}
	result.Why = verdict.Text
	if !verdict.Bad {
		s.out.log("%s", verdict.Text)
		return nil
	}
	result.Outcome = report.TakenBack
	s.out.log("rolling back: %s", verdict.Text)
	if after, err = s.outcome(ctx); err != nil {
		return err
	}
	return errors.Join(ErrRolledBack, s.rollBackServices(ctx, result, after, serviceNames(switched)))
}

// request builds the request for the Pulumi program from the flags.
func (s *session) request(ctx context.Context, before map[string]release.Recorded) (release.Request, error) {
	if s.version == "" {
		return release.Request{Again: true, Commit: s.commit}, nil
	}
	history, err := s.readHistory(ctx)
	if err != nil {
		return release.Request{}, err
	}
	versions, err := history.Find(s.version)
	if err != nil {
		return release.Request{}, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	// The other services keep their live versions.
	request, changed := asItIs(before), false
	for name, deployed := range versions {
		if _, exists := before[name]; exists && request.Services[name].Version != deployed.Version {
			request.Services[name], changed = deployed, true
		}
	}
	if !changed {
		return request, fmt.Errorf("stack %s: %s is live already: nothing to release", s.stack, s.version)
	}
	return request, nil
}

// undo moves the traffic of the switched services back after a failed update, so that a release switches all services or none.
func (s *session) undo(ctx context.Context, recorded map[string]release.Recorded, switched []report.Service) error {
	if len(switched) == 0 {
		return nil
	}
	s.out.log("the update failed after %s had switched: moving traffic back", strings.Join(serviceNames(switched), ", "))
	_, err := s.moveBack(context.WithoutCancel(ctx), recorded, serviceNames(switched))
	return err
}

// setSwitchTimes sets the time of each move to the end of its switch step.
func setSwitchTimes(moves []report.Service, steps []report.Step) {
	for i := range moves {
		for _, step := range steps {
			if step.Name == moves[i].Name+": switch" {
				moves[i].Switched = step.Began.Add(step.Took)
			}
		}
	}
}

func serviceNames(moves []report.Service) []string {
	return slice.Map(moves, func(move report.Service) string { return move.Name })
}

// outcomeTime is how long outcome waits for an unavailable API server.
const outcomeTime = time.Minute

// outcome returns the actual state after an update. It waits for an unavailable API server, since the update may have switched.
func (s *session) outcome(ctx context.Context) (after map[string]release.Recorded, err error) {
	err = cluster.Retry(ctx, time.Second, outcomeTime, func(ctx context.Context) (err error) {
		if after, err = s.recorded(ctx); err != nil {
			s.out.log("waiting for the state after the update: %v", err)
		}
		return err
	})
	return after, err
}

// recorded returns the actual state of the catalog's services.
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

// readHistory reads the history from the stack's outputs.
func (s *session) readHistory(ctx context.Context) (release.History, error) {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return nil, err
	}
	outputs, err := workspace.Outputs(ctx)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, short(err))
	}
	var history release.History
	if err := release.Convert(outputs[release.HistoryOutput].Value, &history); err != nil {
		return nil, fmt.Errorf("stack %s: read its output %s: %w", s.stack, release.HistoryOutput, err)
	}
	return history, nil
}

// retire removes the standby versions.
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
			s.out.log("no standby version")
			return nil
		}
		s.out.log("removing %s", strings.Join(standing, ", "))
		request := asItIs(before)
		request.Retire = true
		_, err = s.update(ctx, request, "retired by "+s.holder)
		return err
	})
}

// asItIs requests the live versions, whatever the sources have: the update releases nothing.
func asItIs(recorded map[string]release.Recorded) release.Request {
	request := release.Request{Services: map[string]release.Deployed{}}
	for name, state := range recorded {
		request.Services[name] = state.Released()
	}
	return request
}

// end saves the report and notifies the hooks.
func (s *session) end(ctx context.Context, result *report.Report, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	result.Ended = time.Now()
	if failed != nil && result.Outcome == "" {
		result.Outcome, result.Why = report.Failed, failed.Error()
	}
	if err := s.measure(ctx, result); err != nil {
		s.out.log("the report has no measurements: %v", err)
	}
	page, err := report.Save(s.reports, *result)
	if err != nil {
		return fmt.Errorf("can't save the report: %w", err)
	}
	s.out.log("report: %s", page)
	s.out.emit(map[string]any{"outcome": result.Outcome, "why": result.Why, "report": page})
	s.notify(ctx, "end", fmt.Sprintf("%s: %s", result.Outcome, result.Why), nil)
	return nil
}
