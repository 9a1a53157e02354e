package report

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

func after(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// example is a release that was rolled back, with all fields set.
func example() Report {
	r := Report{
		Stack: "staging", Command: "release", Outcome: TakenBack,
		Why: "order-service answered 3.1 % of its requests with an error, and blue 0.0 %.", By: "ada@laptop",
		Began: began, Ended: after(154), Traffic: Traffic{Requests: 2400.2, Failed: 3, P95: 12.3},
		Steps: []Step{
			{Name: "Build images", Began: began, Took: 21 * time.Second, Detail: "user-service, order-service"},
			{Name: "Migrate", Began: after(21), Took: 3200 * time.Millisecond},
			{Name: "Start the candidates", Began: after(24.2), Took: 31 * time.Second, Detail: "green of user-service and order-service, 2 replicas each"},
			{Name: "Verify", Began: after(55.2), Took: 4 * time.Second},
			{Name: "Switch", Began: after(60), Took: 80 * time.Millisecond},
			{Name: "Watch", Began: after(60.1), Took: 60 * time.Second, Detail: "errors rose from second 12 on", Failed: true},
			{Name: "Roll back", Began: after(120.1), Took: 95 * time.Millisecond},
			{Name: "Reconcile the state", Began: after(120.2), Took: 33 * time.Second},
		},
	}
	for i, name := range []string{"api-gateway", "user-service", "order-service", "notification-service"} {
		released := i == 1 || i == 2
		if released {
			r.Services = append(r.Services, Service{
				Name: name, FromVersion: "0123456789ab", ToVersion: "cdef01234567", FromColour: "blue", ToColour: "green",
				Switched: after(60.04), LastOld: after(60.04 + 0.213*float64(i)), TakenBack: after(120.15),
			})
		}
		traffic := []float64{300, 135, 105, 45}[i]
		for _, colour := range []string{"blue", "green"} {
			requests := Series{Plot: Requests, Unit: "requests/s", Service: name, Colour: colour}
			errors := Series{Plot: Errors, Unit: "errors/s", Service: name, Colour: colour}
			latency := Series{Plot: Latency, Unit: "s", Service: name, Colour: colour, Objective: 0.25}
			for s := -30.0; s <= 154; s += 2 {
				green := released && s >= 60 && s < 120
				wave := 1 + .05*math.Sin(s/3+float64(i))
				value, failed, slow := traffic*wave, 0.0, .04*wave+.01*float64(i)
				if green != (colour == "green") {
					value, slow = 0, math.NaN()
				} else if green && i == 2 && s > 72 {
					failed, slow = 3*wave*(s-72)/40, .19*wave
				}
				requests.Points = append(requests.Points, NewPoint(after(s), value))
				errors.Points = append(errors.Points, NewPoint(after(s), failed))
				latency.Points = append(latency.Points, NewPoint(after(s), slow))
			}
			if !released && colour == "green" {
				continue
			}
			r.Series = append(r.Series, requests, errors)
			if i != 3 {
				r.Series = append(r.Series, latency)
			}
		}
	}
	r.Series = append(r.Series, Series{Plot: Latency, Unit: "s", Service: "notification-service", Colour: "blue"})
	return r
}

func TestJSONRoundTrip(t *testing.T) {
	written := example()
	var first bytes.Buffer
	if err := written.WriteJSON(&first); err != nil {
		t.Fatal(err)
	}
	text := first.String()
	var read Report
	if err := json.Unmarshal(first.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := read.WriteJSON(&again); err != nil || again.String() != text {
		t.Errorf("the second JSON differs from the first (%v)", err)
	}
	gaps := 0
	for s := range written.Series {
		for _, point := range written.Series[s].Points {
			if point.Value == nil {
				gaps++
			}
		}
	}
	if !reflect.DeepEqual(written, read) || gaps == 0 {
		t.Errorf("read %+v\nwant %+v", read, written)
	}
}

func TestSave(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "reports")
	r := example()
	r.Began = r.Began.In(time.FixedZone("elsewhere", 3600))
	for range 2 { // the second replaces the first
		page, err := Save(folder, r)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(folder, "20260314T092653Z-release.html"); page != want {
			t.Errorf("saved as %s, want %s", page, want)
		}
		content, err := os.ReadFile(strings.TrimSuffix(page, ".html") + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var read Report
		if err := json.Unmarshal(content, &read); err != nil || read.Why != r.Why {
			t.Errorf("read %q (%v)", read.Why, err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder holds %v (%v), want the two files", entries, err)
	}
}
