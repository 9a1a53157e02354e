package release

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Difference is one difference between the cluster and the record of the last release.
type Difference struct {
	Service string `json:"service,omitempty"`
	Kind    string `json:"kind"` // of the object
	Name    string `json:"name"`
	Field   string `json:"field,omitempty"` // empty for the object itself
	Have    string `json:"have"`
	Want    string `json:"want,omitempty"`
	Change  Change `json:"changed,omitzero"`
	// Patch restores the object, as a strategic merge patch; nil where a patch can't.
	Patch map[string]any `json:"-"`
}

// Change is the last change of a field, as the API server recorded it.
type Change struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Changes maps a field's path to its last change.
type Changes map[string]Change

// Bounds are the minimum and the maximum number of replicas of an autoscaler.
type Bounds struct{ Min, Max int }

// ReplicasAnnotation on a HorizontalPodAutoscaler records the Bounds that the last update set.
const ReplicasAnnotation = "platform.example/replicas"

// With returns the text of the annotation. The text includes the creation time of the live candidate, so Pulumi sets the bounds
// again at each switch: the retirement Job may have lowered the previous ones, which Pulumi's state doesn't show.
func (b Bounds) With(created string) string { return fmt.Sprintf("%d-%d %s", b.Min, b.Max, created) }

// ReadBounds parses the text that With returns. It returns the zero Bounds for any other text.
func ReadBounds(text string) (b Bounds) {
	if _, err := fmt.Sscanf(text, "%d-%d", &b.Min, &b.Max); err != nil {
		return Bounds{}
	}
	return b
}

// The fields that Drift compares.
const (
	selectorField  = "spec.selector"
	versionField   = "metadata.annotations." + VersionAnnotation
	replicasField  = "spec.replicas"
	pausedField    = "spec.paused"
	targetField    = "spec.scaleTargetRef"
	minField       = "spec.minReplicas"
	maxField       = "spec.maxReplicas"
	endpointsField = "ready endpoints"
)

func imageField(service string) string { return "spec.template.spec.containers[" + service + "].image" }

// String describes the difference and, where known, who changed the field.
func (d Difference) String() string {
	text := fmt.Sprintf("%s %s is %s", d.Kind, d.Name, d.Have)
	if d.Field != "" {
		text = fmt.Sprintf("%s %s: %s: %s, want %s", d.Kind, d.Name, d.Field, cmp.Or(d.Have, "none"), d.Want)
	}
	if d.Change.By != "" {
		text += fmt.Sprintf(" (changed by %s at %s)", d.Change.By, d.Change.At.Local().Format(time.DateTime))
	}
	return text
}

// Drift returns the differences from the last release, ordered by service. A restarted pod is no difference, and neither is a
// candidate that never got traffic.
func Drift(recorded map[string]Recorded) []Difference {
	var found []Difference
	for _, service := range slices.Sorted(maps.Keys(recorded)) {
		found = append(found, recorded[service].drift(service)...)
	}
	return found
}

// Misleading reports whether the cluster runs another version or image than the record says, so that an output with the recorded
// one would be wrong.
func (d Difference) Misleading() bool {
	return d.Kind != "HorizontalPodAutoscaler" && slices.Contains([]string{"", selectorField, versionField, imageField(d.Service)}, d.Field)
}

// Selector is the complete selector of a live Service.
func Selector(service string, colour Colour) map[string]string {
	return map[string]string{"app.kubernetes.io/name": service, ColourLabel: string(colour)}
}

// SelectorPatch is a patch that changes selector to Selector(service, colour) and removes all other keys.
func SelectorPatch(service string, colour Colour, selector map[string]string) map[string]any {
	patch := map[string]any{}
	for key := range selector {
		patch[key] = nil
	}
	for key, value := range Selector(service, colour) {
		patch[key] = value
	}
	return map[string]any{"spec": map[string]any{"selector": patch}}
}

// live is the colour that the last release made live, or empty.
func (r Recorded) live() Colour { return cmp.Or(r.Mark.Live, r.Selected) }

// recorded reports whether the colour is the live or the standby one of the last release. Any other Deployment is a candidate.
func (r Recorded) recorded(colour Colour) bool {
	running, standby := r.Colours[colour], r.Mark.Standby
	return colour == r.live() || standby != Former{} && standby.Made == running.Made && (standby.Made != "" || standby.Version == running.Version)
}

// wanted returns what the colour runs according to the record, or its actual version and image where nothing was recorded.
func (r Recorded) wanted(colour Colour) (version, image string) {
	running, record := r.Colours[colour], r.Mark.Standby
	if colour == r.live() {
		record = Former{Version: r.Mark.Version, Image: r.Mark.Image}
	}
	version, image = running.Version, running.Image
	if record.Version != "" && r.recorded(colour) {
		version = record.Version
	}
	if record.Image != "" && r.recorded(colour) {
		image = record.Image
	}
	return version, image
}

// Restored is the service with everything that Drift can restore as the last release left it, except for the selected colour.
func (r Recorded) Restored() Recorded {
	r.Selected = cmp.Or(r.Selected, r.Mark.Live)
	r.Colours = maps.Clone(r.Colours)
	for colour, running := range r.Colours {
		running.Version, running.Image = r.wanted(colour)
		if r.recorded(colour) && running.Replicas == 0 {
			running.Replicas = running.least()
		}
		r.Colours[colour] = running
	}
	return r
}

// Released is what the last release made live.
func (r Recorded) Released() Deployed {
	version, image := r.wanted(r.live())
	deployed := Deployed{Version: version, Image: image}
	if running := r.Colours[r.live()]; running.Version == version {
		deployed.Schema = running.Schema
	}
	return deployed
}

// least is the minimum number of replicas.
func (r Running) least() int {
	if r.Autoscaler == nil {
		return 1
	}
	return max(1, cmp.Or(r.Autoscaler.Recorded.Min, r.Autoscaler.Bounds.Min))
}

func (r Recorded) drift(service string) (found []Difference) {
	live := r.live()
	if live == "" {
		return nil
	}
	differs := func(kind, name, field, have, want string, by Changes, patch map[string]any) {
		found = append(found, Difference{Service: service, Kind: kind, Name: name, Field: field, Have: have, Want: want, Change: by[field], Patch: patch})
	}
	if want := Selector(service, live); !maps.Equal(r.Selector, want) {
		patch := SelectorPatch(service, live, r.Selector)
		if r.ByHand(service) != nil { // moving traffic takes more than a patch
			patch = nil
		}
		differs("Service", service, selectorField, labels.Set(r.Selector).String(), labels.Set(want).String(), r.Changes, patch)
	}
	for _, colour := range []Colour{live, live.Other()} {
		running, exists := r.Colours[colour]
		switch {
		case exists && r.recorded(colour):
			r.driftOf(service, colour, running, differs)
		case !exists && (colour == live || r.Mark.Standby != Former{}):
			differs("Deployment", colour.Name(service), "", "missing", "", nil, nil)
		}
	}
	if r.Ready == 0 {
		differs("Service", service, endpointsField, "0", "at least 1", nil, nil)
	}
	return found
}

// driftOf calls differs for each difference of a colour's Deployment and its autoscaler.
func (r Recorded) driftOf(
	service string, colour Colour, running Running, differs func(kind, name, field, have, want string, by Changes, patch map[string]any),
) {
	const kind, scaler = "Deployment", "HorizontalPodAutoscaler"
	type object = map[string]any
	name, scaled := colour.Name(service), false
	if a := running.Autoscaler; a == nil {
		differs(scaler, name, "", "missing", "", nil, nil)
	} else {
		if scaled = a.Target == name; !scaled {
			target := object{"apiVersion": "apps/v1", "kind": kind, "name": name}
			differs(scaler, name, targetField, a.Target, name, a.Changes, object{"spec": object{"scaleTargetRef": target}})
		}
		if want := a.Recorded; want != (Bounds{}) && a.Bounds.Min != want.Min {
			differs(scaler, name, minField, fmt.Sprint(a.Bounds.Min), fmt.Sprint(want.Min), a.Changes, object{"spec": object{"minReplicas": want.Min}})
		}
		if want := a.Recorded; want != (Bounds{}) && a.Bounds.Max != want.Max {
			differs(scaler, name, maxField, fmt.Sprint(a.Bounds.Max), fmt.Sprint(want.Max), a.Changes, object{"spec": object{"maxReplicas": want.Max}})
		}
	}
	version, image := r.wanted(colour)
	if running.Version != version {
		differs(kind, name, versionField, running.Version, version, running.Changes,
			object{"metadata": object{"annotations": object{VersionAnnotation: version}}})
	}
	if running.Image != image {
		containers := []any{object{"name": service, "image": image}}
		differs(kind, name, imageField(service), running.Image, image, running.Changes,
			object{"spec": object{"template": object{"spec": object{"containers": containers}}}})
	}
	if running.Paused {
		differs(kind, name, pausedField, "true", "false", running.Changes, object{"spec": object{"paused": false}})
	}
	// An autoscaler ignores a Deployment with 0 replicas. It corrects any other number below the minimum within seconds.
	if least := running.least(); running.Replicas == 0 || running.Replicas < least && !scaled {
		differs(kind, name, replicasField, fmt.Sprint(running.Replicas), fmt.Sprintf("at least %d", least), running.Changes,
			object{"spec": object{"replicas": least}})
	}
}
