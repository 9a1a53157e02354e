// Package release decides how a service gets from the version that is live to the one that is wanted: two colours, one of
// which has the traffic. It is plain data and functions without I/O; whoever carries a plan out asks and tells the cluster.
package release

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"
)

// Move is what a plan does with a service's traffic.
//
//	what is recorded                              what is wished          move     traffic at the end
//	no live Service, or nothing where it leads    any version             start    blue, or where it leads, which is made
//	the version wished is live                    -                       stay     as it is
//	it was taken back, and nobody asks for it     the source's version    hold     as it is
//	it stands by                                  -                       return   the other colour, which is there
//	anything else                                 -                       release  the other colour, once it is verified
type Move string

// The moves.
const (
	Start   Move = "start"
	Stay    Move = "stay"
	Hold    Move = "hold"
	Return  Move = "return"
	Release Move = "release"
)

// Wish is the version that somebody wants a service to be, and how much they want it.
type Wish struct {
	Source string // the version that the sources (or staging) have
	Pinned string // another version that is asked for by name; empty for Source
	Again  bool   // also if it was taken back
	Retire bool   // no former version is to stand by any longer
}

// Version is the version that is wanted.
func (w Wish) Version() string { return cmp.Or(w.Pinned, w.Source) }

// Plan is how a service gets from what is recorded to what is wished. Carried out in part, or twice, it leads there all
// the same: what is recorded afterwards has a plan of its own.
type Plan struct {
	Move    Move
	Live    Colour // has the traffic at the end
	Version string // of Live
	From    string // the version that is live now; empty for none

	// Target is the colour that gets what the program says now, its image and configuration; the other one keeps what it
	// was released with. Empty: both keep it.
	Target Colour
	Made   string // when Target became a candidate
	// Colours is every colour that is there at the end. One that is missing here is taken away.
	Colours []Colour
	// Replicas is how many replicas a colour must have at least until the next plan: as many as carry the traffic now.
	// Only a move sets it.
	Replicas int
	// Mark is written together with the selector.
	Mark Mark
	// Was is the mark until then. Only a move sets it.
	Was Mark
}

// Moves reports whether the plan gives the traffic to another colour.
func (p Plan) Moves() bool { return p.Move == Release || p.Move == Return }

// New is the plan for one service, from what its last release recorded: what was changed by hand since isn't kept. A former version stands by for so long after a switch, and is then taken away. It is an
// error if what is recorded contradicts itself.
func New(service string, recorded Recorded, wish Wish, keep time.Duration, now time.Time) (Plan, error) {
	if err := recorded.ByHand(service); err != nil {
		return Plan{}, err
	}
	if recorded = recorded.Restored(); recorded.Selected == "" {
		return start(Blue, wish, now), nil
	}
	live, running := recorded.Live()
	if _, there := recorded.Colours[live]; !there { // an update was killed between the Service and the Deployment
		return start(live, wish, now), nil
	}
	standby, former, stands := recorded.Standby()
	mark := recorded.Mark
	mark.Live, mark.Version, mark.Image = live, running.Version, running.Image // one that was made before marks were
	plan := Plan{From: running.Version}
	switch {
	case running.Version == wish.Version():
		plan.Move = Stay
	case wish.Pinned == "" && !wish.Again && wish.Source == mark.TakenBack:
		plan.Move = Hold
	case stands && former.Version == wish.Version():
		plan.Move = Return
	default:
		plan.Move = Release
	}
	if !plan.Moves() {
		if stands = stands && !wish.Retire && now.Sub(mark.At) < keep; stands {
			mark.Standby = former.former()
		} else {
			mark.Standby, mark.Verified = Former{}, ""
		}
		plan.Made = running.Made
		return plan.on(live, mark, wish, stands), nil
	}
	plan.Replicas, plan.Made = max(1, running.Replicas), former.Made
	if plan.Move == Release {
		plan.Made = now.UTC().Format(time.RFC3339Nano)
	}
	plan.Was = mark
	mark = Mark{Live: standby, Version: wish.Version(), Standby: running.former(), At: now}
	if plan.Move == Return {
		mark.Image = former.Image
	} else {
		mark.Verified = plan.Made
	}
	if wish.Pinned != "" && wish.Pinned != wish.Source {
		mark.TakenBack = wish.Source // or the next update would bring it back
	}
	return plan.on(standby, mark, wish, true), nil
}

// start is the plan of a service that nobody reaches yet. A Deployment that a killed update has left is taken over.
func start(live Colour, wish Wish, now time.Time) Plan {
	plan := Plan{Move: Start, Made: now.UTC().Format(time.RFC3339Nano)}.on(live, Mark{Live: live, Version: wish.Version(), At: now}, wish, false)
	plan.Target = live
	return plan
}

// on completes the plan: who has the traffic in the end, and whether the other colour stays.
func (p Plan) on(live Colour, mark Mark, wish Wish, other bool) Plan {
	p.Live, p.Version, p.Mark, p.Colours = live, mark.Version, mark, []Colour{live}
	if other {
		p.Colours = append(p.Colours, live.Other())
	}
	// What the program says belongs to the version that its sources have. A candidate has nothing of its own yet.
	if p.Move == Release || mark.Version == wish.Source {
		p.Target = live
	}
	return p
}

// Sentence says what the plan does, for people; empty where nothing changes. Image is what runs in the colour that gets the
// traffic.
func (p Plan) Sentence(service, image string, keep time.Duration) string {
	other := p.Live.Other()
	switch p.Move {
	case Start:
		return fmt.Sprintf("%s: %s is the first to run, in %s (%s)", service, p.Version, p.Live, image)
	case Hold:
		return fmt.Sprintf("%s stays at %s: %s was taken back and is not released again unasked: change the source, or ask for it with `make release`",
			service, p.Version, p.Mark.TakenBack)
	case Return:
		return fmt.Sprintf("%s goes back from %s to %s, which stands by in %s (%s); %s in %s stands by for %s",
			service, p.From, p.Version, p.Live, image, p.From, other, keep)
	case Release:
		return fmt.Sprintf("%s is released: from %s to %s in %s (%s), verified before it gets traffic; %s in %s stands by for %s",
			service, named(p.From), p.Version, p.Live, image, named(p.From), other, keep)
	default:
		return ""
	}
}

// named is a version for people; one that was made before versions were told has none.
func named(version string) string { return cmp.Or(version, "a version that doesn't say which") }

// TakeBack is the mark of a rollback: the traffic returns to the colour that stands by, at once, and what it is taken from
// isn't released again unasked. It is an error where nothing stands by.
func TakeBack(service string, recorded Recorded, now time.Time) (Mark, error) {
	if err := recorded.ByHand(service); err != nil {
		return Mark{}, err
	}
	restored := recorded.Restored()
	recorded.Selected = restored.Selected
	standby, former, stands := recorded.Standby() // as it runs
	live, running := restored.Live()              // as it was released
	if _, there := recorded.Colours[standby]; there && !stands && recorded.recorded(standby) {
		return Mark{}, fmt.Errorf("service %s: %s stands by, but isn't what was live before: `make drift` says what was changed, "+
			"`make repair` restores it", service, standby.Name(service))
	}
	if !stands {
		return Mark{}, fmt.Errorf("service %s: nothing stands by: version %s is live in %s, and the former one is gone: "+
			"release an older version with `make release V=<version>`; `make releases` lists them", service, running.Version, live)
	}
	return Mark{Live: standby, Version: former.Version, Image: former.Image, Standby: running.former(), TakenBack: running.Version, At: now}, nil
}

// Colour tells the two Deployments of one service apart.
type Colour string

// The colours. Each has its own Deployment, Service and configuration; the live Service selects one of them.
const (
	Blue  Colour = "blue"
	Green Colour = "green"
)

// Name is what the resources of a service in this colour are called, such as user-service-blue.
func (c Colour) Name(service string) string { return service + "-" + string(c) }

// Other is the other colour.
func (c Colour) Other() Colour {
	if c == Blue {
		return Green
	}
	return Blue
}

// RequestVariable is the environment variable in which the release command hands its Request to the program that it has
// pulumi run. Unset, as in a plain `pulumi up`, nothing but the sources is asked for.
const RequestVariable = "PLATFORM_RELEASE"

// Request is what somebody asks for beyond what the sources say.
type Request struct {
	Services map[string]Deployed `json:"services,omitempty"` // what is to run in place of the sources' version
	Again    bool                `json:"again,omitempty"`    // also what was taken back
	Retire   bool                `json:"retire,omitempty"`   // no former version is to stand by any longer
	Holder   string              `json:"holder,omitempty"`   // who asks, as the lock of releases names them
}

// ReadRequest reads the variable's value; the zero Request where it is empty.
func ReadRequest(text string) (Request, error) {
	var request Request
	if text == "" {
		return request, nil
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return request, fmt.Errorf("%s: %w: it is the release command's to set: unset it", RequestVariable, err)
	}
	return request, nil
}

// String is the variable's value.
func (r Request) String() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // of texts and truth values
	}
	return string(text)
}

// Wish is what is asked of one service.
func (r Request) Wish(service, source string) Wish {
	return Wish{Source: source, Pinned: r.Services[service].Version, Again: r.Again, Retire: r.Retire}
}
