// Package release plans blue/green releases: how a service gets from its live version to the wanted one. The package has only data
// and functions without I/O. Its callers read the cluster's state and apply the plans.
package release

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// Move is what a plan does with a service's traffic. The first matching line applies:
//
//	recorded state                                                   move     live colour after the plan
//	no live Service, or the colour that it selects doesn't exist     start    blue or the selected colour, created
//	the wanted version is live                                       stay     unchanged
//	it was rolled back, comes from the sources, and isn't forced     hold     unchanged
//	it is the standby version                                        return   the other colour, which exists
//	anything else                                                    release  the other colour, once it is verified
type Move string

// The moves.
const (
	Start   Move = "start"
	Stay    Move = "stay"
	Hold    Move = "hold"
	Return  Move = "return"
	Release Move = "release"
)

// Wish is the wanted version of a service.
type Wish struct {
	Source string // the version of the sources, or of staging
	Pinned string // another version, requested by name; empty for Source
	Again  bool   // release the version even if it was rolled back
	Retire bool   // remove the standby version
}

// Version is the wanted version.
func (w Wish) Version() string { return cmp.Or(w.Pinned, w.Source) }

// Plan describes how a service gets from its recorded state to the wanted version. If a plan was applied in part, a new plan from the
// recorded state has the same result. Applying a plan is idempotent.
type Plan struct {
	Move    Move
	Live    Colour // after the plan
	Version string // of Live
	From    string // the version that is live before the plan, or empty

	// Target is the colour that gets the image and the configuration of the program. The other colour keeps those that it was
	// released with. If Target is empty, both do.
	Target Colour
	Made   string // when Target became a candidate
	// Colours are the colours that exist after the plan. The plan removes any other.
	Colours []Colour
	// Replicas is the minimum number of replicas of each colour until the next plan: the number that serves the traffic now.
	// It is 0 unless the plan moves traffic.
	Replicas int
	// Mark is written together with the selector.
	Mark Mark
	// Was is the previous mark. It is zero unless the plan moves traffic.
	Was Mark
}

// Moves reports whether the plan moves traffic to the other colour.
func (p Plan) Moves() bool { return p.Move == Release || p.Move == Return }

// New plans a service from the record of its last release. Later changes by hand are not kept. The standby version is removed once the
// switch is longer ago than keep. New fails if the selector was changed by hand.
func New(service string, recorded Recorded, wish Wish, keep time.Duration, now time.Time) (Plan, error) {
	if err := recorded.ByHand(service); err != nil {
		return Plan{}, err
	}
	if recorded = recorded.Restored(); recorded.Selected == "" {
		return start(Blue, wish, now), nil
	}
	live, running := recorded.Live()
	if _, exists := recorded.Colours[live]; !exists { // an update was killed between the Service and the Deployment
		return start(live, wish, now), nil
	}
	standby, former, stands := recorded.Standby()
	mark := recorded.Mark
	mark.Live, mark.Version, mark.Image = live, running.Version, running.Image // services that predate marks have none
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
		mark.TakenBack = wish.Source // otherwise the next update would release it again
	}
	return plan.on(standby, mark, wish, true), nil
}

// start plans a service that has no traffic yet. It takes over a Deployment that a killed update left.
func start(live Colour, wish Wish, now time.Time) Plan {
	plan := Plan{Move: Start, Made: now.UTC().Format(time.RFC3339Nano)}.on(live, Mark{Live: live, Version: wish.Version(), At: now}, wish, false)
	plan.Target = live
	return plan
}

// on completes the plan with the colour that is live after it, and whether the other colour exists then.
func (p Plan) on(live Colour, mark Mark, wish Wish, other bool) Plan {
	p.Live, p.Version, p.Mark, p.Colours = live, mark.Version, mark, []Colour{live}
	if other {
		p.Colours = append(p.Colours, live.Other())
	}
	// The program's configuration belongs to the version of its sources. A new candidate has no configuration yet.
	if p.Move == Release || mark.Version == wish.Source {
		p.Target = live
	}
	return p
}

// Sentence describes the plan for people. It is empty where nothing changes. Image is the image of the colour that gets the traffic.
func (p Plan) Sentence(service, image string, keep time.Duration) string {
	other := p.Live.Other()
	switch p.Move {
	case Start:
		return fmt.Sprintf("%s: %s is the first version, in %s (%s)", service, p.Version, p.Live, image)
	case Hold:
		return fmt.Sprintf("%s stays at %s: %s was rolled back: change the source, or release it again with `make release`",
			service, p.Version, p.Mark.TakenBack)
	case Return:
		return fmt.Sprintf("%s goes back from %s to the standby version %s in %s (%s); %s in %s becomes the standby for %s",
			service, p.From, p.Version, p.Live, image, p.From, other, keep)
	case Release:
		return fmt.Sprintf("%s is released: from %s to %s in %s (%s), verified before it gets traffic; %s in %s becomes the standby for %s",
			service, named(p.From), p.Version, p.Live, image, named(p.From), other, keep)
	default:
		return ""
	}
}

var (
	// Planned matches a plan's Sentence.
	Planned = regexp.MustCompile(` (is released: from|goes back from|stays at) `)
	// Moved matches the Sentence of a plan that moves traffic: the service, its next colour and the image of that colour.
	Moved = regexp.MustCompile(`^(\S+) (?:is released: from|goes back from) .* in (blue|green) \(([^)]*)\)`)
)

// named returns the version for people. Deployments that predate version annotations have none.
func named(version string) string { return cmp.Or(version, "an unknown version") }

// TakeBack returns the mark of a rollback: traffic returns to the standby colour at once, and the version that was live is released
// again only on request. TakeBack fails without a standby version.
func TakeBack(service string, recorded Recorded, now time.Time) (Mark, error) {
	if err := recorded.ByHand(service); err != nil {
		return Mark{}, err
	}
	restored := recorded.Restored()
	recorded.Selected = restored.Selected
	standby, former, stands := recorded.Standby() // as it runs
	live, running := restored.Live()              // as it was released
	if _, exists := recorded.Colours[standby]; exists && !stands && recorded.recorded(standby) {
		return Mark{}, fmt.Errorf("service %s: the standby %s was changed since it was live: `make drift` shows the change, "+
			"`make repair` reverts it", service, standby.Name(service))
	}
	if !stands {
		return Mark{}, fmt.Errorf("service %s: no standby version: version %s is live in %s, and the previous one was removed: "+
			"release an older version with `make release V=<version>`; `make releases` lists them", service, running.Version, live)
	}
	return Mark{Live: standby, Version: former.Version, Image: former.Image, Standby: running.former(), TakenBack: running.Version, At: now}, nil
}

// Colour distinguishes the two Deployments of a service.
type Colour string

// The colours. Each has its own Deployment, Service and configuration. The live Service selects one of them.
const (
	Blue  Colour = "blue"
	Green Colour = "green"
)

// Name is the name of the service's resources in this colour, such as user-service-blue.
func (c Colour) Name(service string) string { return service + "-" + string(c) }

// Other is the other colour.
func (c Colour) Other() Colour {
	if c == Blue {
		return Green
	}
	return Blue
}

// RequestVariable is the environment variable in which the release command passes its Request to the Pulumi program. A plain
// `pulumi up` leaves it unset and releases the sources.
const RequestVariable = "PLATFORM_RELEASE"

// Request changes what an update releases.
type Request struct {
	Services map[string]Deployed `json:"services,omitempty"` // deployed instead of the version of the sources
	Again    bool                `json:"again,omitempty"`    // release versions that were rolled back
	Retire   bool                `json:"retire,omitempty"`   // remove the standby versions
	Holder   string              `json:"holder,omitempty"`   // the holder of the Lease of releases
	Tested   string              `json:"tested,omitempty"`   // the commit at which the live versions passed the tests
	Commit   string              `json:"commit,omitempty"`   // promoted: the versions that passed the tests at it
}

// ReadRequest parses the variable's value. An empty value is the zero Request.
func ReadRequest(text string) (Request, error) {
	var request Request
	if text == "" {
		return request, nil
	}
	if err := json.Unmarshal([]byte(text), &request); err != nil {
		return request, fmt.Errorf("%s: %w: only the release command sets this variable: unset it", RequestVariable, err)
	}
	return request, nil
}

// String is the variable's value.
func (r Request) String() string {
	text, _ := json.Marshal(r) // strings and booleans always encode
	return string(text)
}

// Wish is the part of the request for one service. Source is the version of the sources.
func (r Request) Wish(service, source string) Wish {
	return Wish{Source: source, Pinned: r.Services[service].Version, Again: r.Again, Retire: r.Retire}
}
