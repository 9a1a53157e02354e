package release

import (
	"fmt"
	"strings"
	"time"
)

// Recorded is the actual state of one service in the cluster.
type Recorded struct {
	Selected Colour // by the live Service; empty without a live Service
	Mark     Mark   // written by the last switch, together with the selector
	Colours  map[Colour]Running
	Revision string            // resourceVersion of the live Service, a precondition of patches
	Selector map[string]string // of the live Service, every key
	Ready    int               // number of ready endpoints of the live Service
	Changes  Changes           // of the live Service
	Address  string            // the ClusterIP of the live Service
}

// Running is a colour's Deployment.
type Running struct {
	Version    string
	Image      string // repository@sha256:…
	Made       string // when it became a candidate; distinguishes two attempts at one version
	Schema     string // hash of its migrations; empty if it isn't known
	Replicas   int    // desired (spec.replicas)
	Paused     bool
	Changes    Changes
	Autoscaler *Autoscaler // nil for none
}

// Autoscaler is the HorizontalPodAutoscaler with the name of a colour's Deployment.
type Autoscaler struct {
	Target   string // the Deployment that it scales
	Bounds   Bounds
	Recorded Bounds // as the last update set them; zero if not recorded
	Changes  Changes
}

// Mark is the record of a switch. A switch writes it to the live Service in one request with the selector. It distinguishes a planned
// switch from a selector that somebody changed by hand, and a version that was live from a candidate.
type Mark struct {
	Live      Colour
	Version   string    // of Live
	Image     string    // of Live; empty if not recorded
	Standby   Former    // the previous live version, in the other colour; zero for none
	TakenBack string    // the rolled back version, released again only on request; empty for none
	Verified  string    // the candidate's Made while its verification Job is part of the stack; empty otherwise
	At        time.Time // of the switch
}

// Former is what a colour ran while it was live. Made distinguishes it from a later, unverified candidate of the same version. Image
// is empty if not recorded.
type Former struct{ Version, Made, Image string }

// The annotations of a live Service that hold its Mark.
const (
	standbyAnnotation   = "platform.example/standby"
	takenBackAnnotation = "platform.example/taken-back"
	verifiedAnnotation  = "platform.example/verified"
	// Each holds a version and its image. If the version is not the mark's, the annotation belongs to an earlier mark.
	liveImageAnnotation    = "platform.example/live-image"
	standbyImageAnnotation = "platform.example/standby-image"

	// LiveAnnotation is the live colour and version.
	LiveAnnotation = "platform.example/live"
	// SwitchedAnnotation is the Timestamp of the switch.
	SwitchedAnnotation = "platform.example/switched-at"

	// VersionAnnotation is the version that a Deployment runs.
	VersionAnnotation = "platform.example/version"
	// MadeAnnotation is the time at which a Deployment became a candidate.
	MadeAnnotation = "platform.example/made-at"
	// SchemaAnnotation is the hash of the migrations of a Deployment's version.
	SchemaAnnotation = "platform.example/schema"
)

// ColourLabel is the label of pods and the selector key for the colour.
const ColourLabel = "colour"

// Annotations returns the mark as annotations. It always returns all keys, so a patch with them replaces the previous mark.
func (m Mark) Annotations() map[string]string {
	return map[string]string{
		LiveAnnotation:      fmt.Sprintf("%s %s", m.Live, m.Version),
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

// Timestamp formats the time of an annotation: RFC 3339 in UTC.
func Timestamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// ReadTimestamp parses a Timestamp. An invalid one is the zero time, so that no standby version stays for ever.
func ReadTimestamp(text string) time.Time {
	at, _ := time.Parse(time.RFC3339, text)
	return at
}

// ReadMark reads the mark from annotations. Without one, it returns the zero Mark.
func ReadMark(annotations map[string]string) Mark {
	colour, version, _ := strings.Cut(annotations[LiveAnnotation], " ")
	standby, created, _ := strings.Cut(annotations[standbyAnnotation], " ")
	return Mark{
		Live: Colour(colour), Version: version, Image: readImage(annotations[liveImageAnnotation], version),
		Standby:   Former{standby, created, readImage(annotations[standbyImageAnnotation], standby)},
		TakenBack: annotations[takenBackAnnotation], Verified: annotations[verifiedAnnotation], At: ReadTimestamp(annotations[SwitchedAnnotation]),
	}
}

// Live is the selected colour and its Deployment.
func (r Recorded) Live() (Colour, Running) { return r.Selected, r.Colours[r.Selected] }

// Standby is the idle colour and its Deployment. It reports whether a rollback to it is safe: the Deployment was live before and is
// unchanged.
func (r Recorded) Standby() (Colour, Running, bool) {
	idle := r.Selected.Other()
	running, exists := r.Colours[idle]
	return idle, running, exists && r.Selected != "" && r.Mark.Standby != Former{} && r.Mark.Standby.is(running)
}

// is reports whether the Deployment runs the recorded version.
func (f Former) is(running Running) bool {
	return f.Version == running.Version && f.Made == running.Made && (f.Image == "" || f.Image == running.Image)
}

func (r Running) former() Former { return Former{r.Version, r.Made, r.Image} }

// ByHand returns an error if the live Service's selector was changed outside of a release.
func (r Recorded) ByHand(service string) error {
	if r.Selected == "" || r.Mark.Live == "" || r.Selected == r.Mark.Live {
		return nil
	}
	version := "nothing"
	if running, ok := r.Colours[r.Selected]; ok {
		version = "version " + running.Version
	}
	return fmt.Errorf("service %s: its live Service selects %s (%s), but the last release made %s (version %s) live: the selector was "+
		"changed by hand: `make repair` moves traffic back to %s, `make repair ADOPT=1` records the selected colour as live",
		service, r.Selected, version, r.Mark.Live, r.Mark.Version, r.Mark.Live)
}
