package release_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/release"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	service = "user-service"
	keep    = time.Hour
)

// live is the state after a release: one version is live, another may be the standby.
func live(colour release.Colour, version, standby string) release.Recorded {
	recorded := release.Recorded{
		Selected: colour,
		Mark:     release.Mark{Live: colour, Version: version, Standby: release.Former{Version: standby}, At: now.Add(-time.Minute)},
		Colours:  map[release.Colour]release.Running{colour: {Version: version, Replicas: 3}},
	}
	if standby != "" {
		recorded.Colours[colour.Other()] = release.Running{Version: standby, Replicas: 3}
	}
	return recorded
}

// selecting is a live Service that selects a colour without a Deployment.
func selecting(colour release.Colour, version string) release.Recorded {
	recorded := live(colour, version, "")
	delete(recorded.Colours, colour)
	return recorded
}

func TestPlans(t *testing.T) {
	rolledBack := live(release.Blue, "v1", "v2")
	rolledBack.Mark.TakenBack = "v2"
	interrupted := live(release.Blue, "v1", "")
	interrupted.Colours[release.Green] = release.Running{Version: "v2", Replicas: 1}
	overwritten := live(release.Blue, "v2", "v1")
	overwritten.Colours[release.Green] = release.Running{Version: "v3"}
	unmarked := live(release.Blue, "v1", "")
	unmarked.Mark = release.Mark{}
	long := live(release.Green, "v2", "v1")
	long.Mark.At = now.Add(-keep)

	type want struct {
		move                release.Move
		live                release.Colour
		version             string
		target              release.Colour
		colours             []release.Colour
		replicas            int
		standby, takenBacks string
	}
	both := []release.Colour{release.Blue, release.Green}
	for _, c := range []struct {
		name     string
		recorded release.Recorded
		wish     release.Wish
		want     want
	}{
		{"first release", release.Recorded{}, release.Wish{Source: "v1"},
			want{release.Start, release.Blue, "v1", release.Blue, both[:1], 0, "", ""}},
		{"first release after a killed run", release.Recorded{Colours: map[release.Colour]release.Running{release.Blue: {Version: "v0"}}},
			release.Wish{Source: "v1"}, want{release.Start, release.Blue, "v1", release.Blue, both[:1], 0, "", ""}},
		{"first release after a killed run that only created the live Service", selecting(release.Blue, "v0"), release.Wish{Source: "v1"},
			want{release.Start, release.Blue, "v1", release.Blue, both[:1], 0, "", ""}},
		{"live Deployment deleted", selecting(release.Green, "v1"), release.Wish{Source: "v1"},
			want{release.Start, release.Green, "v1", release.Green, both[1:], 0, "", ""}},
		{"nothing new", live(release.Blue, "v1", ""), release.Wish{Source: "v1"},
			want{release.Stay, release.Blue, "v1", release.Blue, both[:1], 0, "", ""}},
		{"nothing new, with a standby", live(release.Green, "v2", "v1"), release.Wish{Source: "v2"},
			want{release.Stay, release.Green, "v2", release.Green, both, 0, "v1", ""}},
		{"the standby is too old", long, release.Wish{Source: "v2"},
			want{release.Stay, release.Green, "v2", release.Green, both[1:], 0, "", ""}},
		{"the standby is to be retired", live(release.Green, "v2", "v1"), release.Wish{Source: "v2", Retire: true},
			want{release.Stay, release.Green, "v2", release.Green, both[1:], 0, "", ""}},
		{"a new version", live(release.Blue, "v1", ""), release.Wish{Source: "v2"},
			want{release.Release, release.Green, "v2", release.Green, both, 3, "v1", ""}},
		{"a new version replaces the standby", live(release.Green, "v2", "v1"), release.Wish{Source: "v3"},
			want{release.Release, release.Blue, "v3", release.Blue, both, 3, "v2", ""}},
		{"a service without a mark", unmarked, release.Wish{Source: "v2"},
			want{release.Release, release.Green, "v2", release.Green, both, 3, "v1", ""}},
		{"an interrupted release starts over", interrupted, release.Wish{Source: "v2"},
			want{release.Release, release.Green, "v2", release.Green, both, 3, "v1", ""}},
		{"an interrupted release is no longer wanted", interrupted, release.Wish{Source: "v1"},
			want{release.Stay, release.Blue, "v1", release.Blue, both[:1], 0, "", ""}},
		{"the sources go back", live(release.Green, "v2", "v1"), release.Wish{Source: "v1"},
			want{release.Return, release.Blue, "v1", release.Blue, both, 3, "v2", ""}},
		{"a failed release replaced the standby", overwritten, release.Wish{Source: "v1"},
			want{release.Release, release.Green, "v1", release.Green, both, 3, "v2", ""}},
		{"a rolled back version isn't released again", rolledBack, release.Wish{Source: "v2"},
			want{release.Hold, release.Blue, "v1", "", both, 0, "v2", "v2"}},
		{"a rolled back version is released on request", rolledBack, release.Wish{Source: "v2", Again: true},
			want{release.Return, release.Green, "v2", release.Green, both, 3, "v1", ""}},
		{"the version after a rolled back one", rolledBack, release.Wish{Source: "v3"},
			want{release.Release, release.Green, "v3", release.Green, both, 3, "v1", ""}},
		{"an older version by name", live(release.Green, "v3", "v2"), release.Wish{Source: "v3", Pinned: "v1"},
			want{release.Release, release.Blue, "v1", release.Blue, both, 3, "v3", "v3"}},
		{"the standby by name", live(release.Green, "v3", "v2"), release.Wish{Source: "v3", Pinned: "v2"},
			want{release.Return, release.Blue, "v2", "", both, 3, "v3", "v3"}},
		{"the live version by name", live(release.Blue, "v2", "v3"), release.Wish{Source: "v3", Pinned: "v2"},
			want{release.Stay, release.Blue, "v2", "", both, 0, "v3", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := release.New(service, c.recorded, c.wish, keep, now)
			if err != nil {
				t.Fatal(err)
			}
			colours := slices.Sorted(slices.Values(plan.Colours))
			got := want{plan.Move, plan.Live, plan.Version, plan.Target, colours, plan.Replicas, plan.Mark.Standby.Version, plan.Mark.TakenBack}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("the plan is\n%+v, want\n%+v", got, c.want)
			}
			if verified := plan.Mark.Verified != ""; verified != (plan.Move == release.Release) {
				t.Errorf("the mark of a %s has the verification %q", plan.Move, plan.Mark.Verified)
			}
			if plan.Mark.Live != plan.Live || plan.Mark.Version != plan.Version {
				t.Errorf("the mark %+v is of another colour or version", plan.Mark)
			}
			sentence := plan.Sentence(service, "image", keep)
			if (sentence == "") != (plan.Move == release.Stay) || !strings.HasPrefix(sentence, service) && sentence != "" {
				t.Errorf("the sentence is %q", sentence)
			}
		})
	}
}

func TestRequestRoundTrip(t *testing.T) {
	for _, request := range []release.Request{
		{},
		{Services: map[string]release.Deployed{service: {Version: "v1", Image: "registry/a@sha256:1"}}, Again: true, Retire: true, Holder: "ada"},
	} {
		if got, err := release.ReadRequest(request.String()); err != nil || !reflect.DeepEqual(got, request) {
			t.Errorf("%+v is read as %+v: %v", request, got, err)
		}
	}
	if got, err := release.ReadRequest(""); err != nil || !reflect.DeepEqual(got, release.Request{}) {
		t.Errorf("no request is read as %+v: %v", got, err)
	}
	if _, err := release.ReadRequest("{"); err == nil || !strings.Contains(err.Error(), release.RequestVariable+": ") {
		t.Errorf("a broken request: %v", err)
	}
}

func TestSelectorChangedByHandIsAnError(t *testing.T) {
	recorded := live(release.Blue, "v1", "v0")
	recorded.Selected = release.Green
	want := "service user-service: its live Service selects green (version v0), but the last release made blue (version v1) live"
	if _, err := release.New(service, recorded, release.Wish{Source: "v1"}, keep, now); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a plan: %v", err)
	}
	if _, err := release.TakeBack(service, recorded, now); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a rollback: %v", err)
	}
}

func TestRollbackNeedsAStandby(t *testing.T) {
	mark, err := release.TakeBack(service, live(release.Green, "v2", "v1"), now)
	if want := (release.Mark{Live: release.Blue, Version: "v1", Standby: release.Former{Version: "v2"}, TakenBack: "v2", At: now}); err != nil || mark != want {
		t.Errorf("%+v, %v; want %+v", mark, err, want)
	}
	_, err = release.TakeBack(service, live(release.Green, "v2", ""), now)
	if err == nil || !strings.Contains(err.Error(), "no standby version: version v2 is live in green") {
		t.Errorf("without a standby: %v", err)
	}
}

func TestMarkRoundTrip(t *testing.T) {
	for _, mark := range []release.Mark{
		{Live: release.Green, Version: "v2", Image: "registry/a@sha256:2", TakenBack: "v3", Verified: "2026-03-01T12:00:00Z", At: now,
			Standby: release.Former{Version: "v1", Made: "2026-03-01T11:00:00Z", Image: "registry/a@sha256:1"}},
		{Live: release.Blue, Version: "v1", At: now},
	} {
		if got := release.ReadMark(mark.Annotations()); got != mark {
			t.Errorf("%+v is read as %+v", mark, got)
		}
	}
	if got := release.ReadMark(nil); got != (release.Mark{}) {
		t.Errorf("no mark is read as %+v", got)
	}
}

// world is a cluster with one service. It applies plans step by step and may stop after any step.
type world struct {
	t        *testing.T
	recorded release.Recorded
	verified map[release.Colour]string // the version that passed verification
	begun    bool                      // the selected colour had a Deployment
	now      time.Time
}

// carryOut applies the first steps of a plan in the order of an update. It reports whether that was the whole plan.
func (w *world) carryOut(plan release.Plan, steps int) bool {
	w.t.Helper()
	step := func(do func()) {
		if steps--; steps >= 0 {
			do()
			w.check()
		}
	}
	for _, colour := range plan.Colours {
		if _, exists := w.recorded.Colours[colour]; !exists && colour != plan.Target {
			w.t.Fatalf("%+v keeps %s, which doesn't exist", plan, colour)
		}
	}
	if plan.Move == release.Start { // pods that start look up the live Services of the others
		step(func() { w.recorded.Selected, w.recorded.Mark = plan.Live, plan.Mark })
		step(func() {
			w.recorded.Colours[plan.Live] = release.Running{Version: plan.Version, Made: plan.Made, Replicas: 1}
			w.verified[plan.Live] = plan.Version // no other version has the traffic
		})
		return steps >= 0
	}
	if plan.Target != "" {
		step(func() {
			if plan.Target == w.recorded.Selected && w.recorded.Colours[plan.Target].Version != plan.Version {
				w.t.Fatalf("%+v replaces the live version in place", plan)
			}
			if plan.Move == release.Release {
				delete(w.verified, plan.Target)
			}
			w.recorded.Colours[plan.Target] = release.Running{Version: plan.Version, Made: plan.Made, Replicas: max(1, plan.Replicas)}
		})
	}
	if plan.Move == release.Release {
		step(func() { w.verified[plan.Live] = plan.Version })
	}
	step(func() { w.recorded.Selected, w.recorded.Mark = plan.Live, plan.Mark }) // one request
	for _, colour := range []release.Colour{release.Blue, release.Green} {
		if !slices.Contains(plan.Colours, colour) {
			step(func() {
				if colour == w.recorded.Selected {
					w.t.Fatalf("%+v removes the live colour", plan)
				}
				delete(w.recorded.Colours, colour)
				delete(w.verified, colour)
			})
		}
	}
	return steps >= 0
}

// check fails unless the live and the standby version are verified.
func (w *world) check() {
	w.t.Helper()
	selected, running := w.recorded.Live()
	w.begun = w.begun || running.Version != ""
	if w.begun && (running.Version == "" || w.verified[selected] != running.Version) {
		w.t.Fatalf("traffic goes to %s with %q, but the verified version is %q", selected, running.Version, w.verified[selected])
	}
	if idle, former, stands := w.recorded.Standby(); stands && w.verified[idle] != former.Version {
		w.t.Fatalf("%s with %q is the standby, but was never verified", idle, former.Version)
	}
}

// For random wishes and interruptions, traffic is always on a verified version. Repeating a wish completes it, and the next plan
// changes nothing.
func TestInterruptedPlansAreSafeAndConverge(t *testing.T) {
	versions := []string{"v1", "v2", "v3", "v4"}
	for seed := range uint64(3000) {
		chance := rand.New(rand.NewPCG(seed, 1))
		w := &world{t: t, recorded: release.Recorded{Colours: map[release.Colour]release.Running{}}, verified: map[release.Colour]string{}, now: now}
		for range 12 {
			w.now = w.now.Add(time.Duration(chance.IntN(100)) * time.Minute)
			if mark, err := release.TakeBack(service, w.recorded, w.now); err == nil && chance.IntN(5) == 0 {
				w.recorded.Selected, w.recorded.Mark = mark.Live, mark
				w.check()
				continue
			}
			wish := release.Wish{Source: versions[chance.IntN(4)], Again: chance.IntN(4) == 0, Retire: chance.IntN(6) == 0}
			if chance.IntN(4) == 0 {
				wish.Pinned = versions[chance.IntN(4)]
			}
			plan := w.plan(wish)
			held := plan.Move == release.Hold
			w.carryOut(plan, chance.IntN(5)) // may be interrupted
			if chance.IntN(2) == 0 {
				continue // with another wish
			}
			for w.carryOut(w.plan(wish), 1+chance.IntN(5)) == false {
			}
			plan = w.plan(wish)
			if plan.Moves() || plan.Move == release.Start {
				t.Fatalf("seed %d: the repeated wish still plans to %s", seed, plan.Move)
			}
			if _, running := w.recorded.Live(); !held && running.Version != wish.Version() {
				t.Fatalf("seed %d: %q is live, want %q", seed, running.Version, wish.Version())
			}
		}
	}
}

func (w *world) plan(wish release.Wish) release.Plan {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	plan, err := release.New(service, w.recorded, wish, keep, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan
}
