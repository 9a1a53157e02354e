package release

import (
	"fmt"
	"strings"
	"time"
)

// Recorded is what is true of one service: what the cluster itself says, never what was hoped.
type Recorded struct {
	Selected Colour // that the live Service selects; empty where there is no live Service yet
	Mark     Mark   // what the last switch wrote beside the selector
	Colours  map[Colour]Running
	Revision string            // resourceVersion of the live Service: a patch that tests it fails if another one came first
	Selector map[string]string // of the live Service, every key
	Ready    int               // endpoints of the live Service
	Changes  Changes           // of the live Service
	Address  string            // the ClusterIP of the live Service
}

// Running is a colour's Deployment.
type Running struct {
	Version    string
	Image      string // repository@sha256:…
	Made       string // when it was made a candidate: tells it from another attempt at the same version
	Replicas   int    // that it is to have right now
	Paused     bool
	Changes    Changes
	Autoscaler *Autoscaler // nil for none
}

// Autoscaler is the HorizontalPodAutoscaler of a colour's name.
type Autoscaler struct {
	Target   string // the Deployment that it scales
	Bounds   Bounds
	Recorded Bounds // as the last update set them; zero where it recorded none
	Changes  Changes
}

// Mark is what a switch writes on the live Service together with its selector, in one step: it tells a switch that was
// planned from a selector that somebody changed by hand, and a version that was live from one that never got so far.
type Mark struct {
	Live      Colour
	Version   string    // that Live runs
	Image     string    // that Live runs; empty where it wasn't recorded
	Standby   Former    // what was live before, in the other colour; zero for nothing
	TakenBack string    // the version that isn't released again unless somebody asks for it; empty for none
	Verified  string    // the candidate's Made while its verification Job is part of the stack; empty otherwise
	At        time.Time // of the switch
}

// Former is what a colour ran when it was live. A candidate of the same version that has come in its place since was made
// at another time, and nobody has verified it. Image is empty where it wasn't recorded.
type Former struct{ Version, Made, Image string }

// The annotations of a live Service that hold its Mark.
const (
	liveAnnotation      = "platform.example/live" // colour and version
	standbyAnnotation   = "platform.example/standby"
	takenBackAnnotation = "platform.example/taken-back"
	verifiedAnnotation  = "platform.example/verified"
	// Each holds a version and its image. An image of another version than the one recorded is of an earlier mark.
	liveImageAnnotation    = "platform.example/live-image"
	standbyImageAnnotation = "platform.example/standby-image"

	// SwitchedAnnotation holds the moment of the switch, a Timestamp.
	SwitchedAnnotation = "platform.example/switched-at"

	// VersionAnnotation on a Deployment says which version it runs.
	VersionAnnotation = "platform.example/version"
	// MadeAnnotation on a Deployment says when it became a candidate.
	MadeAnnotation = "platform.example/made-at"
)

// ColourLabel is the label of pods, and the key of selectors, that says the colour.
const ColourLabel = "colour"

// Annotations is the mark as annotations. All keys are always there, so that a patch with them leaves nothing of a former
// mark behind.
func (m Mark) Annotations() map[string]string {
	return map[string]string{
		liveAnnotation:      fmt.Sprintf("%s %s", m.Live, m.Version),
		standbyAnnotation:   strings.TrimSpace(m.Standby.Version + " " + m.Standby.Made),
		takenBackAnnotation: m.TakenBack,
		verifiedAnnotation:  m.Verified,
		SwitchedAnnotation:  Timestamp(m.At),

		liveImageAnnotation:    imageText(m.Version, m.Image),
		standbyImageAnnotation: imageText(m.Standby.Version, m.Standby.Image),
	}
}

func imageText(version, image string) string {
	if image == "" {
		return ""
	}
	return version + " " + image
}

func readImage(text, version string) string {
	if of, image, _ := strings.Cut(text, " "); of == version {
		return image
	}
	return ""
}

// Timestamp is a time as annotations hold it: RFC 3339 in UTC.
func Timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// ReadTimestamp reads a Timestamp. An unreadable one is long ago: nothing stands by for ever.
func ReadTimestamp(text string) time.Time {
	at, _ := time.Parse(time.RFC3339, text)
	return at
}

// ReadMark is the mark that annotations hold; the zero Mark where there is none.
func ReadMark(annotations map[string]string) Mark {
	colour, version, _ := strings.Cut(annotations[liveAnnotation], " ")
	standby, made, _ := strings.Cut(annotations[standbyAnnotation], " ")
	return Mark{
		Live: Colour(colour), Version: version, Image: readImage(annotations[liveImageAnnotation], version),
		Standby:   Former{standby, made, readImage(annotations[standbyImageAnnotation], standby)},
		TakenBack: annotations[takenBackAnnotation], Verified: annotations[verifiedAnnotation], At: ReadTimestamp(annotations[SwitchedAnnotation]),
	}
}

// Live is the colour that has the traffic, and what it runs.
func (r Recorded) Live() (Colour, Running) { return r.Selected, r.Colours[r.Selected] }

// Standby is the colour to which the traffic can be given back at once: what it runs was live before, and nothing has
// touched it since.
func (r Recorded) Standby() (Colour, Running, bool) {
	idle := r.Selected.Other()
	running, there := r.Colours[idle]
	return idle, running, there && r.Selected != "" && r.Mark.Standby != Former{} && r.Mark.Standby.is(running)
}

// is reports whether a Deployment runs what was recorded of it.
func (f Former) is(running Running) bool {
	return f.Version == running.Version && f.Made == running.Made && (f.Image == "" || f.Image == running.Image)
}

func (r Running) former() Former { return Former{r.Version, r.Made, r.Image} }

// ByHand is an error where somebody has changed the live Service's selector without the rest.
func (r Recorded) ByHand(service string) error {
	if r.Selected == "" || r.Mark.Live == "" || r.Selected == r.Mark.Live {
		return nil
	}
	there := "nothing"
	if running, ok := r.Colours[r.Selected]; ok {
		there = "version " + running.Version
	}
	return fmt.Errorf("service %s: its live Service selects %s (%s), but the last release made %s (version %s) live: somebody has "+
		"changed the selector by hand: `make repair` gives the traffic back to %s, `make repair ADOPT=1` takes what is selected "+
		"for live", service, r.Selected, there, r.Mark.Live, r.Mark.Version, r.Mark.Live)
}
