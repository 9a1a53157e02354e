package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"platform.example/test/command"
	"platform.example/test/load"
)

// sample is the response of a service to a request that was due after some seconds. A status of 0 is a lost request.
func sample(after float64, latency time.Duration, service string, status int) load.Sample {
	s := load.Sample{At: at(after), Latency: latency, Status: status}
	if status == 200 {
		s.By = []load.Origin{{Service: "api-gateway", Colour: "blue", Version: "1"}, {Service: service, Colour: "blue", Version: "1"}}
	} else {
		s.Err = "lost"
	}
	return s
}

func at(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }

func TestRecoveryIsTheFirstGoodResponseAfterTheLastLostRequest(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		samples []load.Sample
		want    time.Duration
		no      bool
	}{
		"no request is lost":     {[]load.Sample{sample(11, ms, "shop", 200)}, 0, false},
		"three lost requests":    {[]load.Sample{sample(11, ms, "shop", 0), sample(12, ms, "shop", 503), sample(13.5, 200*ms, "shop", 200), sample(14, ms, "shop", 200)}, 3700 * ms, false},
		"good and lost by turns": {[]load.Sample{sample(11, ms, "shop", 0), sample(12, ms, "shop", 200), sample(13, ms, "shop", 0), sample(14, ms, "shop", 200)}, 4001 * ms, false},
		"another service":        {[]load.Sample{sample(11, ms, "shop", 0), sample(12, ms, "other", 200), sample(15, ms, "shop", 200)}, 5001 * ms, false},
		"in flight":              {[]load.Sample{sample(9.9, 200*ms, "shop", 0), sample(10.5, ms, "shop", 200)}, 501 * ms, false},
		"lost before":            {[]load.Sample{sample(9, ms, "shop", 0), sample(11, ms, "shop", 200)}, 0, false},
		"never again":            {[]load.Sample{sample(11, ms, "shop", 0), sample(12, ms, "other", 200)}, 0, true},
	} {
		got, recovered := recovery(test.samples, "shop", at(10))
		if recovered == test.no || recovered && got.Round(ms) != test.want {
			t.Errorf("%s: %s, %t, want %s", name, got, recovered, test.want)
		}
	}
}

// card is a scorecard of four requests during a release, one of them lost, and two during a deletion.
func card() measured {
	restore := 90 * time.Second
	return measured{
		deployment: 41200 * time.Millisecond, rollback: 380 * time.Millisecond,
		released: load.Result{Began: at(0), Ended: at(2), Samples: []load.Sample{
			sample(0, 10*time.Millisecond, "shop", 200), sample(0.5, 20*time.Millisecond, "shop", 200),
			sample(1, 30*time.Millisecond, "shop", 200), sample(1.5, 100*time.Millisecond, "shop", 503),
		}},
		killed:     load.Result{Samples: []load.Sample{sample(10, 0, "shop", 0), sample(11, 0, "shop", 200), sample(11.5, 0, "shop", 0)}},
		recoveries: []time.Duration{2 * time.Second, 4 * time.Second},
		delivery:   delivery{Deployments: 4, Failures: 1, Span: 14 * 24 * time.Hour, Restore: &restore},
	}
}

func TestFigures(t *testing.T) {
	want := map[string]struct {
		value float64
		text  string
	}{
		"deployment time":       {41.2, "41.2s"},
		"zero downtime":         {1, "no: 1 of 4 requests were lost"},
		"rollback time":         {.38, "380ms"},
		"average response time": {.04, "40ms"},
		"p95 response time":     {.1, "100ms"},
		"throughput":            {1.5, "1.5 requests/s"},
		"error rate":            {25, "25.000 %"},
		"availability":          {100 * 4 / 7., "57.143 %"},
		"uptime":                {75, "75.00 %"},
		"mean time to recover":  {3, "3s"},
		"deployment frequency":  {2, "2.0 per week"},
		"lead time for changes": {math.NaN(), "unknown: no release has a commit (make tested)"},
		"change failure rate":   {25, "25 %"},
		"time to restore":       {90, "1m30s"},
	}
	found := card().figures()
	if len(found) != len(want) {
		t.Errorf("%d figures, want %d", len(found), len(want))
	}
	for _, line := range found {
		expected := want[line.Name]
		if line.Text != expected.text || (line.Value == nil) != math.IsNaN(expected.value) || line.Value != nil && math.Abs(*line.Value-expected.value) > 1e-9 {
			t.Errorf("%s is %+v, want %v", line.Name, line, expected)
		}
		if line.How == "" {
			t.Errorf("%s doesn't say how it is measured", line.Name)
		}
	}
}

func TestFiguresOfAPlatformWithoutReleasesAndRequests(t *testing.T) {
	for _, line := range (measured{}).figures() {
		if line.Value != nil && (math.IsNaN(*line.Value) || math.IsInf(*line.Value, 0)) {
			t.Errorf("%s is %f", line.Name, *line.Value)
		}
		if line.Name == "time to restore" && (line.Value != nil || line.Text != "unknown: no deployment") {
			t.Errorf("got %+v", line)
		}
	}
}

func TestThePageIsSelfContainedAndTheDataIsJSON(t *testing.T) {
	m, folder := card(), t.TempDir()
	drawn := plots(m, []change{{1, false}, {1.5, true}})
	if err := (scorecard{At: began, Rate: 40, Figures: m.figures(), Plots: drawn}).save("../../..", folder); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "scorecard.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"2026-03-02 09:00:00 UTC", "no: 1 of 4 requests were lost", "from the rollback command", `"title":"p95 response time"`,
		`"switches":[{"at":1,"back":false},{"at":1.5,"back":true}]`, "new uPlot(", "sha256-"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the page doesn't contain %s", part)
		}
	}
	for _, other := range []string{" src=", " href=", "@import", "NaN"} {
		if strings.Contains(string(text[strings.Index(string(text), "<body>"):strings.LastIndex(string(text), "<script>")]), other) {
			t.Errorf("the page contains %s", other)
		}
	}
	data, err := os.ReadFile(filepath.Join(folder, "scorecard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var read scorecard
	if err := json.Unmarshal(data, &read); err != nil || len(read.Figures) != 14 || len(read.Plots) != 3 {
		t.Errorf("%v: %d figures, %d plots", err, len(read.Figures), len(read.Plots))
	}
	// The seconds 0, 1, 10 and 11 since the start have 2, 2, 1 and 2 requests.
	if drawn[0].From != 0 || drawn[0].To != 11 || drawn[0].Top != 2 || len(drawn[0].Lines[0].Times) != 4 || *drawn[1].Lines[0].Values[0] != 0 || *drawn[1].Lines[0].Values[1] != 1 ||
		*drawn[2].Lines[0].Values[1] != 100 {
		t.Errorf("the plots are %+v", drawn)
	}
}

func TestTimesOfTheRelease(t *testing.T) {
	lines := []command.Line{{At: at(1), Step: "shop: verify"}, {At: at(3), Step: "shop: switch"}, {At: at(2), Step: "other: switch"}, {At: at(9), Said: "live"}}
	if got := lastSwitch(lines); !got.Equal(at(3)) {
		t.Errorf("the last switch is at %s", got)
	}
	if got := lastSwitch(lines[:1]); !got.IsZero() {
		t.Errorf("without a switch, it is at %s", got)
	}
	by := func(after float64, version string) load.Sample {
		return load.Sample{At: at(after), By: []load.Origin{{Service: "shop", Version: version}}}
	}
	samples := []load.Sample{by(1, "1"), by(2, "2"), by(3, "2")}
	former := lastVersions(samples)
	if len(former) != 1 || former["shop"] != "2" {
		t.Errorf("the last versions are %v", former)
	}
	if got := lastResponse(append(samples, by(4, "2"), by(5, "1")), former); !got.Equal(at(4)) {
		t.Errorf("the last response of the former version is at %s", got)
	}
}
