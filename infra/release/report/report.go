// Package report says what happened during one release: as a file for programs and as a page for people. The page needs
// nothing but itself, so that it can be kept, mailed and read years later.
package report

import (
	"encoding/json"
	"errors"
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
	Command string    `json:"command"` // release, rollback or promote
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

// Point is a measurement. A value that is no number, as Prometheus gives for a share of nothing, is none: the line has a
// gap there.
type Point struct {
	At    time.Time
	Value float64
}

func (p Point) measured() bool { return !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) }

// point is a Point as JSON has it, which has no word for what is no number.
type point struct {
	At    time.Time `json:"at"`
	Value *float64  `json:"value"`
}

// MarshalJSON writes no value as null.
func (p Point) MarshalJSON() ([]byte, error) {
	written := point{At: p.At}
	if p.measured() {
		written.Value = &p.Value
	}
	return json.Marshal(written)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Point) UnmarshalJSON(text []byte) error {
	var read point
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*p = Point{At: read.At, Value: math.NaN()}
	if read.Value != nil {
		p.Value = *read.Value
	}
	return nil
}

// WriteJSON writes the report for Read and for other programs.
func (r Report) WriteJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// maxBytes bounds what Read takes: at 60 bytes a point, a day of twenty services measured every five seconds has half of it.
const maxBytes = 256 << 20

// Read reads what WriteJSON wrote.
func Read(from io.Reader) (Report, error) {
	var read Report
	if err := json.NewDecoder(io.LimitReader(from, maxBytes)).Decode(&read); err != nil {
		return Report{}, fmt.Errorf("read a report: %w", err)
	}
	if read.Command == "" || read.Began.IsZero() {
		return Report{}, errors.New("read a report: it says neither what was commanded nor when: it's no report of a release")
	}
	return read, nil
}
