// Package report says what happened during one release: as a file for programs and as a page for people. The page needs
// nothing but itself, so that it can be kept, mailed and read years later.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// The ways in which a release ends. A report may say another; it is shown as it stands.
const (
	Released  = "released"
	TakenBack = "taken back"
	Failed    = "failed"
)

// Plot is what a series measures. Series of one Plot are drawn side by side on one scale.
type Plot string

// The plots that every release has.
const (
	Requests Plot = "requests/s"
	Errors   Plot = "errors/s"
	Latency  Plot = "p99 latency"
)

// Report is one release, from the command to its end.
type Report struct {
	Stack   string    `json:"stack"`
	Command string    `json:"command"` // release or rollback
	Outcome string    `json:"outcome"`
	Why     string    `json:"why,omitempty"` // one sentence
	By      string    `json:"by,omitempty"`  // who gave the command
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`

	Services []Service `json:"services,omitempty"`
	Steps    []Step    `json:"steps,omitempty"` // in the order in which they began
	Series   []Series  `json:"series,omitempty"`
}

// Service is what the release did with one service. Times that are zero are unknown, or never came.
type Service struct {
	Name        string    `json:"name"`
	FromVersion string    `json:"from_version,omitempty"`
	ToVersion   string    `json:"to_version,omitempty"`
	FromColour  string    `json:"from_colour,omitempty"`
	ToColour    string    `json:"to_colour,omitempty"`
	Switched    time.Time `json:"switched,omitzero"`   // when its live selector changed to ToColour
	LastOld     time.Time `json:"last_old,omitzero"`   // when FromColour last answered after the switch; of one that was taken back, before that
	TakenBack   time.Time `json:"taken_back,omitzero"` // when its live selector changed back
}

// String is the way of its traffic.
func (s Service) String() string {
	return fmt.Sprintf("%s from %s (%s) to %s (%s)", s.Name, s.FromVersion, s.FromColour, s.ToVersion, s.ToColour)
}

// Step is a part of the release that took time.
type Step struct {
	Name   string        `json:"name"`
	Began  time.Time     `json:"began"`
	Took   time.Duration `json:"took_ns"`
	Detail string        `json:"detail,omitempty"`
	Failed bool          `json:"failed,omitempty"`
}

// Series is what was measured of one service in one colour.
type Series struct {
	Plot      Plot    `json:"plot"`
	Unit      string  `json:"unit"` // of the values, such as "requests/s"; "s" is shown as ms where that reads better
	Service   string  `json:"service"`
	Colour    string  `json:"colour"`              // blue or green
	Objective float64 `json:"objective,omitempty"` // what the values shall stay below, in Unit; 0: nothing was promised
	Points    []Point `json:"points"`              // in the order of time
}

// Point is a measurement. Without a value the line has a gap there.
type Point struct {
	At    time.Time `json:"at"`
	Value *float64  `json:"value"`
}

// NewPoint is a measurement. A value that is no number, as Prometheus gives for a share of nothing, is none.
func NewPoint(at time.Time, value float64) Point {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return Point{At: at}
	}
	return Point{At: at, Value: &value}
}

// WriteJSON writes the report for other programs.
func (r Report) WriteJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
