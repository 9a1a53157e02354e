package release_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"platform.example/infra/release"
)

const recordedImage, foreignImage = "registry/user-service@sha256:1", "registry/user-service@sha256:f"

// released is a service after a release: v2 is live in green, v1 is the standby in blue.
func released() release.Recorded {
	scaled := func(colour release.Colour) *release.Autoscaler {
		return &release.Autoscaler{Target: colour.Name(service), Bounds: release.Bounds{Min: 2, Max: 4}, Recorded: release.Bounds{Min: 2, Max: 4}}
	}
	return release.Recorded{
		Selected: release.Green,
		Selector: release.Selector(service, release.Green),
		Mark: release.Mark{
			Live: release.Green, Version: "v2", Image: recordedImage, At: now.Add(-time.Minute),
			Standby: release.Former{Version: "v1", Made: "earlier", Image: recordedImage + "0"},
		},
		Colours: map[release.Colour]release.Running{
			release.Green: {Version: "v2", Made: "later", Image: recordedImage, Replicas: 3, Autoscaler: scaled(release.Green)},
			release.Blue:  {Version: "v1", Made: "earlier", Image: recordedImage + "0", Replicas: 3, Autoscaler: scaled(release.Blue)},
		},
		Ready: 3,
	}
}

// of returns a function that changes a colour's Deployment.
func of(colour release.Colour, change func(*release.Running)) func(*release.Recorded) {
	return func(r *release.Recorded) {
		running := r.Colours[colour]
		change(&running)
		r.Colours[colour] = running
	}
}

func TestDrift(t *testing.T) {
	const live, standby, selector = "user-service-green", "user-service-blue", "app.kubernetes.io/name=user-service,colour=green"
	type patch = map[string]any
	spec := func(key string, value any) patch { return patch{"spec": patch{key: value}} }
	image := func(to string) patch {
		return spec("template", patch{"spec": patch{"containers": []any{patch{"name": service, "image": to}}}})
	}
	for _, c := range []struct {
		name   string
		change func(*release.Recorded)
		want   []string
		patch  patch
	}{
		{"as it was released", func(*release.Recorded) {}, nil, nil},
		{"a key more in the selector", func(r *release.Recorded) { r.Selector["tier"] = "x" },
			[]string{"Service user-service: spec.selector: " + selector + ",tier=x, want " + selector},
			spec("selector", patch{"app.kubernetes.io/name": service, "colour": "green", "tier": nil})},
		{"a key less in the selector", func(r *release.Recorded) { delete(r.Selector, "colour"); r.Selected = "" },
			[]string{"Service user-service: spec.selector: app.kubernetes.io/name=user-service, want " + selector},
			spec("selector", patch{"app.kubernetes.io/name": service, "colour": "green"})},
		{"another name in the selector", func(r *release.Recorded) { r.Selector["app.kubernetes.io/name"] = "order-service" },
			[]string{"Service user-service: spec.selector: app.kubernetes.io/name=order-service,colour=green, want " + selector},
			spec("selector", patch{"app.kubernetes.io/name": service, "colour": "green"})},
		{"no replicas", of(release.Green, func(is *release.Running) { is.Replicas = 0 }),
			[]string{"Deployment " + live + ": spec.replicas: 0, want at least 2"}, spec("replicas", 2)},
		{"no replicas of the standby", of(release.Blue, func(is *release.Running) { is.Replicas = 0 }),
			[]string{"Deployment " + standby + ": spec.replicas: 0, want at least 2"}, spec("replicas", 2)},
		{"replicas that the autoscaler is about to add", of(release.Green, func(is *release.Running) { is.Replicas = 1 }), nil, nil},
		{"another image", of(release.Green, func(is *release.Running) { is.Image = foreignImage }),
			[]string{"Deployment " + live + ": spec.template.spec.containers[user-service].image: " + foreignImage + ", want " + recordedImage}, image(recordedImage)},
		{"another image of the standby", of(release.Blue, func(is *release.Running) { is.Image = foreignImage }),
			[]string{"Deployment " + standby + ": spec.template.spec.containers[user-service].image: " + foreignImage + ", want " + recordedImage + "0"},
			image(recordedImage + "0")},
		{"another image where none was recorded", func(r *release.Recorded) {
			r.Mark.Image = ""
			of(release.Green, func(is *release.Running) { is.Image = foreignImage })(r)
		}, nil, nil},
		{"another version", of(release.Green, func(is *release.Running) { is.Version = "v9" }),
			[]string{"Deployment " + live + ": metadata.annotations.platform.example/version: v9, want v2"},
			patch{"metadata": patch{"annotations": patch{release.VersionAnnotation: "v2"}}}},
		{"a pause", of(release.Green, func(is *release.Running) { is.Paused = true }),
			[]string{"Deployment " + live + ": spec.paused: true, want false"}, spec("paused", false)},
		{"an autoscaler of something else", of(release.Green, func(is *release.Running) { is.Autoscaler.Target, is.Replicas = "other", 2 }),
			[]string{"HorizontalPodAutoscaler " + live + ": spec.scaleTargetRef: other, want " + live},
			spec("scaleTargetRef", patch{"apiVersion": "apps/v1", "kind": "Deployment", "name": live})},
		{"another minimum", of(release.Green, func(is *release.Running) { is.Autoscaler.Bounds.Min = 1 }),
			[]string{"HorizontalPodAutoscaler " + live + ": spec.minReplicas: 1, want 2"}, spec("minReplicas", 2)},
		{"another minimum where none was recorded", of(release.Green, func(is *release.Running) {
			is.Autoscaler.Bounds.Min, is.Autoscaler.Recorded = 1, release.Bounds{}
		}), nil, nil},
		{"no autoscaler, and too few replicas", of(release.Green, func(is *release.Running) { is.Autoscaler, is.Replicas = nil, 0 }),
			[]string{"HorizontalPodAutoscaler " + live + " is missing", "Deployment " + live + ": spec.replicas: 0, want at least 1"}, nil},
		{"traffic that was moved", func(r *release.Recorded) { r.Selector["colour"], r.Selected = "blue", release.Blue },
			[]string{"Service user-service: spec.selector: app.kubernetes.io/name=user-service,colour=blue, want " + selector}, nil},
		{"standby deleted", func(r *release.Recorded) { delete(r.Colours, release.Blue) },
			[]string{"Deployment " + standby + " is missing"}, nil},
		{"live Deployment deleted", func(r *release.Recorded) { delete(r.Colours, release.Green); r.Ready = 0 },
			[]string{"Deployment " + live + " is missing", "Service user-service: ready endpoints: 0, want at least 1"}, nil},
		{"a candidate in place of the standby", of(release.Blue, func(is *release.Running) {
			is.Version, is.Made, is.Image, is.Replicas = "v3", "now", foreignImage, 0
		}), nil, nil},
		{"nothing was released", func(r *release.Recorded) { *r = release.Recorded{} }, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			recorded := released()
			c.change(&recorded)
			found := release.Drift(map[string]release.Recorded{service: recorded})
			var texts []string
			for _, difference := range found {
				texts = append(texts, difference.String())
			}
			if !reflect.DeepEqual(texts, c.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(texts, "\n"), strings.Join(c.want, "\n"))
			}
			if len(found) > 0 && !reflect.DeepEqual(found[0].Patch, c.patch) {
				t.Errorf("the patch is %v, want %v", found[0].Patch, c.patch)
			}
		})
	}
}

func TestBoundsRoundTrip(t *testing.T) {
	bounds := release.Bounds{Min: 2, Max: 20}
	for text, want := range map[string]release.Bounds{bounds.With("now"): bounds, "2-": {}, "two": {}, "": {}} {
		if got := release.ReadBounds(text); got != want {
			t.Errorf("%q is read as %+v, want %+v", text, got, want)
		}
	}
}

// Outputs of a stack name the recorded version and image, so an update fails where something else runs.
func TestMisleadingDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*release.Recorded)
		want   bool
	}{
		"another image":           {of(release.Green, func(is *release.Running) { is.Image = foreignImage }), true},
		"another version":         {of(release.Green, func(is *release.Running) { is.Version = "v9" }), true},
		"a key in the selector":   {func(r *release.Recorded) { r.Selector["tier"] = "x" }, true},
		"live Deployment deleted": {func(r *release.Recorded) { delete(r.Colours, release.Green) }, true},
		"no autoscaler":           {of(release.Green, func(is *release.Running) { is.Autoscaler = nil }), false},
		"another minimum":         {of(release.Green, func(is *release.Running) { is.Autoscaler.Bounds.Min = 1 }), false},
		"no replicas":             {of(release.Green, func(is *release.Running) { is.Replicas = 0 }), false},
		"a pause":                 {of(release.Green, func(is *release.Running) { is.Paused = true }), false},
	} {
		is := released()
		c.change(&is)
		found := release.Drift(map[string]release.Recorded{service: is})
		if len(found) != 1 || found[0].Misleading() != c.want {
			t.Errorf("%s: %v: misleading, want %v", name, found, c.want)
		}
	}
}

func TestDriftNamesTheFieldManager(t *testing.T) {
	is := released()
	is.Selector["tier"] = "x"
	is.Changes = release.Changes{"spec.selector": {By: "kubectl-patch", At: now}, "spec.ports": {By: "pulumi"}}
	want := " (changed by kubectl-patch at " + now.Local().Format(time.DateTime) + ")"
	if found := release.Drift(map[string]release.Recorded{service: is}); len(found) != 1 || !strings.HasSuffix(found[0].String(), want) {
		t.Errorf("got %v, want %s", found, want)
	}
}

// Changes made by hand neither become the record nor decide what is released.
func TestAPlanStartsFromTheRecord(t *testing.T) {
	is := released()
	of(release.Green, func(is *release.Running) { is.Version, is.Image, is.Replicas = "v9", foreignImage, 0 })(&is)
	plan, err := release.New(service, is, release.Wish{Source: "v2"}, keep, now)
	if err != nil || plan.Move != release.Stay || plan.Mark.Version != "v2" || plan.Mark.Image != recordedImage {
		t.Errorf("an update: %+v, %v", plan, err)
	}
	plan, err = release.New(service, is, release.Wish{Source: "v3"}, keep, now)
	if want := (release.Former{Version: "v2", Made: "later", Image: recordedImage}); err != nil || plan.Mark.Standby != want || plan.Replicas != 2 {
		t.Errorf("a release: %+v, %v; want standby %+v", plan, err, want)
	}
	mark, err := release.TakeBack(service, is, now)
	if want := (release.Former{Version: "v2", Made: "later", Image: recordedImage}); err != nil || mark.Standby != want || mark.TakenBack != "v2" {
		t.Errorf("a rollback: %+v, %v", mark, err)
	}
	delete(is.Selector, release.ColourLabel)
	is.Selected = ""
	if plan, err = release.New(service, is, release.Wish{Source: "v2"}, keep, now); err != nil || plan.Move != release.Stay {
		t.Errorf("without a colour in the selector: %+v, %v", plan, err)
	}
	if deployed := is.Released(); deployed != (release.Deployed{Version: "v2", Image: recordedImage}) {
		t.Errorf("the last release is %+v", deployed)
	}
}

func TestRollbackRefusesAChangedStandby(t *testing.T) {
	is := released()
	of(release.Blue, func(is *release.Running) { is.Image = foreignImage })(&is)
	_, err := release.TakeBack(service, is, now)
	if err == nil || !strings.Contains(err.Error(), "the standby user-service-blue was changed since it was live: `make drift` shows the change") {
		t.Errorf("got %v", err)
	}
}

// An earlier version of the platform moves traffic without recording images. ReadMark ignores images of other versions.
func TestReadMarkIgnoresImagesOfOtherVersions(t *testing.T) {
	annotations := released().Mark.Annotations()
	for key, value := range (release.Mark{Live: release.Blue, Version: "v1", Standby: release.Former{Version: "v2", Made: "later"}}).Annotations() {
		if value != "" {
			annotations[key] = value
		}
	}
	if mark := release.ReadMark(annotations); mark.Version != "v1" || mark.Image != "" || mark.Standby.Image != "" {
		t.Errorf("the mark is %+v", mark)
	}
}

func TestRetirement(t *testing.T) {
	is := released()
	plan, err := release.New(service, is, release.Wish{Source: "v2"}, keep, now)
	if err != nil {
		t.Fatal(err)
	}
	order := plan.Retirement(service, "apps", keep, release.Bounds{Min: 1, Max: 4})
	patches, _ := json.Marshal(order.Patches)
	const want = `[{"path":"/api/v1/namespaces/apps/services/user-service","patch":[` +
		`{"op":"test","path":"/metadata/annotations/platform.example~1live","value":"green v2"},` +
		`{"op":"test","path":"/metadata/annotations/platform.example~1switched-at","value":"2026-03-01T11:59:00Z"},` +
		`{"op":"replace","path":"/metadata/annotations/platform.example~1standby","value":""}]},` +
		`{"path":"/apis/apps/v1/namespaces/apps/deployments/user-service-blue","patch":[` +
		`{"op":"test","path":"/metadata/annotations/platform.example~1made-at","value":"earlier"},{"op":"replace","path":"/spec/replicas","value":0}]},` +
		`{"path":"/apis/autoscaling/v2/namespaces/apps/horizontalpodautoscalers/user-service-green","patch":[` +
		`{"op":"add","path":"/metadata/annotations/platform.example~1replicas","value":"1-4 later"},` +
		`{"op":"replace","path":"/spec/minReplicas","value":1},{"op":"replace","path":"/spec/maxReplicas","value":4}]}]`
	if !order.At.Equal(is.Mark.At.Add(keep)) || string(patches) != want {
		t.Errorf("at %s it patches\n%s\nwant\n%s", order.At, patches, want)
	}
	// After the retirement nothing differs, a rollback is refused, and the next update removes the Deployment.
	is.Mark.Standby = release.Former{}
	of(release.Blue, func(is *release.Running) { is.Replicas = 0 })(&is)
	of(release.Green, func(is *release.Running) {
		is.Autoscaler.Bounds, is.Autoscaler.Recorded = release.Bounds{Min: 1, Max: 4}, release.ReadBounds(release.Bounds{Min: 1, Max: 4}.With(plan.Made))
	})(&is)
	if found := release.Drift(map[string]release.Recorded{service: is}); len(found) > 0 {
		t.Errorf("drift: %v", found)
	}
	if _, err := release.TakeBack(service, is, now); err == nil || !strings.Contains(err.Error(), "no standby version") {
		t.Errorf("a rollback: %v", err)
	}
	if plan, err = release.New(service, is, release.Wish{Source: "v2"}, keep, now); err != nil || len(plan.Colours) != 1 {
		t.Errorf("the next update: %+v, %v", plan, err)
	}
	if order := plan.Retirement(service, "apps", keep, release.Bounds{}); !order.At.IsZero() {
		t.Errorf("retired again: %v", order)
	}
}
