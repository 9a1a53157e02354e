package report

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// written is the page of a report. REPORT_PAGE is a path at which to keep the page:
//
//	REPORT_PAGE=/tmp/report.html go test -run AllParts ./release/report
func written(t *testing.T, r Report) string {
	t.Helper()
	var page strings.Builder
	if err := r.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	if path := os.Getenv("REPORT_PAGE"); path != "" {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return page.String()
}

func TestThePageHasAllParts(t *testing.T) {
	page := written(t, example())
	for part, want := range map[string]string{
		"outcome":             `<span class="outcome careful">rolled back</span>`,
		"why":                 "order-service answered 3.1 %",
		"by":                  "ada@laptop",
		"when":                "2026-03-14 09:26:53 UTC",
		"how long":            "2 min 34 s",
		"the requests":        "2400, 3 failed; p95 12 ms",
		"a version":           "cdef01234567",
		"the switch":          "09:27:53.040",
		"the rollback":        "09:28:53.150",
		"the last response":   "426 ms",
		"a step":              "Start the candidates",
		"its detail":          "errors rose from second 12 on",
		"a failed step":       `<strong class="bad">failed</strong>`,
		"a quick step":        "80 ms",
		"a plot":              "<h3>requests/s</h3>",
		"a plot in ms":        "<h3>p99 latency <small>in ms</small></h3>",
		"a line of blue":      `"colour":"blue","times":[`,
		"a line of green":     `"colour":"green","times":[`,
		"the switch's line":   `"switches":[{"at":60.04,"back":false}`,
		"the rollback's line": `{"at":120.15,"back":true}]`,
		"the objective":       `"objective":250,`,
		"an empty plot":       "no measurements",
		"a plot's label":      `aria-label="order-service, errors/s. blue: 0 at first`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s: the page doesn't contain %s", part, want)
		}
	}
	if drawn, services, plots := strings.Count(page, "<figure>"), 4, 3; drawn != services*plots {
		t.Errorf("%d panels, want one for each service and plot", drawn)
	}
}

func TestPageOfAnEmptyReport(t *testing.T) {
	page := written(t, Report{Stack: "local", Command: "release", Outcome: Failed, Began: began, Ended: began})
	for _, want := range []string{"No service was affected.", "No step was run.", "no measurements"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page doesn't contain: %s", want)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Error("the page draws NaN or Inf")
	}
}

// A plot without measurements has a text in place of the axes.
func TestEmptySeriesHasNoAxis(t *testing.T) {
	r := Report{Began: began, Ended: after(60), Series: []Series{
		{Plot: Errors, Service: "order-service", Colour: "blue"},
		{Plot: Errors, Service: "order-service", Colour: "green", Points: []Point{NewPoint(after(1), nan())}},
	}}
	figures := r.figures()
	if len(figures) != 1 || len(figures[0].Panels) != 1 {
		t.Fatalf("drawn: %+v", figures)
	}
	if panel := figures[0].Panels[0]; !panel.Empty || len(panel.Drawing.Lines) != 0 {
		t.Errorf("the empty series has axes: %+v", panel)
	}
	if page := written(t, r); !strings.Contains(page, "no measurements") || strings.Contains(page, `class="plot"`) {
		t.Error("the page has an empty plot")
	}
}

// Names may come from untrusted files.
func TestHostileNamesAreEscaped(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}</style>`
	page := written(t, Report{
		Stack: hostile, Command: hostile, Outcome: hostile, Why: hostile, By: hostile, Began: began, Ended: after(10),
		Services: []Service{{Name: hostile, FromVersion: hostile, ToVersion: hostile, FromColour: hostile, ToColour: hostile}},
		Steps:    []Step{{Name: hostile, Detail: hostile, Began: began, Took: time.Second}},
		Series: []Series{{Plot: hostile, Unit: hostile, Service: hostile, Colour: hostile,
			Objective: 9, Points: []Point{NewPoint(began, 1), NewPoint(after(1), 2)}}},
	})
	if strings.Count(page, "<script") != 2 || strings.Contains(page, "<img") || strings.Count(page, "</style>") != 1 {
		t.Error("a name has become markup")
	}
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the name isn't shown")
	}
}

func TestPageIsSelfContained(t *testing.T) {
	page := written(t, example())
	own := strings.NewReplacer("<script>"+script+"</script>", "", "<style>"+style+"</style>", "").Replace(page)
	for _, forbidden := range []string{"http://", "https://", "<link", "<img", " src=", " href=", "url(", "@import", " style=", " onload="} {
		if strings.Contains(own, forbidden) {
			t.Errorf("the page contains %s", forbidden)
		}
	}
	policy := regexp.MustCompile(`Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(page)
	if policy == nil || !strings.HasPrefix(policy[1], "default-src &#39;none&#39;; style-src &#39;sha256-") || strings.Contains(policy[1], "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	// The policy has the hashes of this style and this script.
	if !strings.Contains(page, "<style>"+style+"</style>") || !strings.Contains(page, "<script>"+script+"</script>") {
		t.Error("the page's style or script differ from those with the policy's hashes")
	}
}

// Quick steps have a visible bar within the timeline.
func TestTimeline(t *testing.T) {
	r := Report{Began: began, Ended: after(300), Services: []Service{{Name: "a", Switched: after(100), TakenBack: after(150)}}, Steps: []Step{
		{Began: after(60), Took: 90 * time.Second}, {Began: after(100)}, {Began: after(300), Failed: true},
	}}
	for i, want := range []bar{{At: 20, Width: 30, Class: "step"}, {At: 33.33, Width: leastBar, Class: "step"}, {At: 100 - leastBar, Width: leastBar, Class: "step failed"}} {
		row := r.stepRows()[i]
		if row.Bar != want || len(row.Switches) != 2 || row.Switches[0] != (bar{At: 33.33, Class: "switch"}) || row.Switches[1] != (bar{At: 50, Class: "back"}) {
			t.Errorf("step %d is drawn as %+v with %+v, want %+v", i, row.Bar, row.Switches, want)
		}
	}
	if page := written(t, r); !strings.Contains(page, `data-from="0" data-to="300"`) {
		t.Error("the axis isn't that of the release")
	}
}

func TestLastOld(t *testing.T) {
	for want, last := range map[string]time.Time{"unknown": {}, "none since": after(9.9), "0 ms": after(10), "1500 ms": after(11.5)} {
		if got := lastOld(Service{Switched: after(10), LastOld: last}); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
