// Package report saves the report of one release as JSON and as a self-contained HTML page.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"
)

// The outcomes of a release. The page shows any other text unchanged.
const (
	Released  = "released"
	TakenBack = "rolled back"
	Failed    = "failed"
)

// Plot is the quantity of a series. Series of one Plot are drawn side by side on one scale.
type Plot string

// The plots of every release.
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
	By      string    `json:"by,omitempty"`  // who ran the command
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`

	Traffic  Traffic   `json:"traffic,omitzero"`
	Services []Service `json:"services,omitempty"`
	Steps    []Step    `json:"steps,omitempty"` // in the order in which they began
	Series   []Series  `json:"series,omitempty"`
}

// Traffic is the requests to the public service during the release. It is zero if it isn't known.
type Traffic struct {
	Requests float64 `json:"requests"`
	Failed   float64 `json:"failed"`
	P95      float64 `json:"p95_ms"`
}

// Service is the switch of one service. A zero time is unknown or didn't happen.
type Service struct {
	Name        string    `json:"name"`
	FromVersion string    `json:"from_version,omitempty"`
	ToVersion   string    `json:"to_version,omitempty"`
	FromColour  string    `json:"from_colour,omitempty"`
	ToColour    string    `json:"to_colour,omitempty"`
	Switched    time.Time `json:"switched,omitzero"`   // when the live selector changed to ToColour
	LastOld     time.Time `json:"last_old,omitzero"`   // last response of FromColour after the switch, and before a rollback
	TakenBack   time.Time `json:"taken_back,omitzero"` // when the live selector changed back
}

func (s Service) String() string {
	return fmt.Sprintf("%s from %s (%s) to %s (%s)", s.Name, s.FromVersion, s.FromColour, s.ToVersion, s.ToColour)
}

// Step is a step of the release.
type Step struct {
	Name   string        `json:"name"`
	Began  time.Time     `json:"began"`
	Took   time.Duration `json:"took_ns"`
	Detail string        `json:"detail,omitempty"`
	Failed bool          `json:"failed,omitempty"`
}

// Series is the measurements of one service in one colour.
type Series struct {
	Plot      Plot    `json:"plot"`
	Unit      string  `json:"unit"` // such as "requests/s"; the page shows small values in "s" as ms
	Service   string  `json:"service"`
	Colour    string  `json:"colour"`              // blue or green
	Objective float64 `json:"objective,omitempty"` // upper limit in Unit; 0 for none
	Points    []Point `json:"points"`              // ordered by time
}

// Point is a measurement. A nil value is a gap in the line.
type Point struct {
	At    time.Time `json:"at"`
	Value *float64  `json:"value"`
}

// NewPoint is a measurement. NaN and Inf, which Prometheus returns for a division by zero, become a gap.
func NewPoint(at time.Time, value float64) Point {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return Point{At: at}
	}
	return Point{At: at, Value: &value}
}

// WriteJSON writes the report as indented JSON.
func (r Report) WriteJSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", " ")
	return encoder.Encode(r)
}

// Save writes the report to <time of the start>-<command>.json and .html in folder and returns the path of the page. It creates the
// folder if necessary, replaces earlier files of the same report, and writes each file atomically.
func Save(folder string, r Report) (page string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	path := filepath.Join(folder, r.Began.UTC().Format("20060102T150405Z")+"-"+r.Command)
	// The page comes first: programs that find the data expect the page beside it.
	if err := write(path+".html", r.WriteHTML); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	if err := write(path+".json", r.WriteJSON); err != nil {
		return "", fmt.Errorf("save a report: %w", err)
	}
	return path + ".html", nil
}

// write writes a temporary file and renames it.
func write(path string, content func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	if err := errors.Join(content(file), file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
