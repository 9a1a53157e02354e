package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// scorecard is the content of the page and of the JSON file.
type scorecard struct {
	At      time.Time `json:"at"`
	Rate    float64   `json:"rate"` // requests per second
	Figures []figure  `json:"figures"`
	Plots   []plot    `json:"plots"`
}

// plot is a line over the seconds of the run, in the form that the script of the release report draws.
type plot struct {
	Title    string   `json:"title"`
	Unit     string   `json:"unit"`
	From     float64  `json:"from"`
	To       float64  `json:"to"`
	Top      float64  `json:"top"`
	Lines    []line   `json:"lines"`
	Switches []change `json:"switches"`
}

type line struct {
	Colour string     `json:"colour"`
	Times  []float64  `json:"times"`
	Values []*float64 `json:"values"`
}

// change is a vertical line: a switch, or with Back a rollback or a deletion of pods.
type change struct {
	At   float64 `json:"at"`
	Back bool    `json:"back"`
}

// newPlot draws values over times.
func newPlot(title, unit, colour string, times []float64, values []*float64, changes []change) plot {
	drawn := plot{Title: title, Unit: unit, Lines: []line{{colour, times, values}}, Switches: changes}
	if len(times) > 0 {
		drawn.From, drawn.To = times[0], times[len(times)-1]
	}
	for _, value := range values {
		drawn.Top = max(drawn.Top, *value)
	}
	return drawn
}

// save writes scorecard.json and scorecard.html to a folder. Root is the folder of the repository, whose release report has the style and
// the script of the plots.
func (s scorecard) save(root, folder string) error {
	content, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	var parts []string
	for _, file := range []string{"uplot/uPlot.min.css", "release/report/page.css", "uplot/uPlot.iife.min.js", "release/report/page.js"} {
		text, err := os.ReadFile(filepath.Join(root, "infra", file))
		if err != nil {
			return err
		}
		parts = append(parts, string(text))
	}
	style, script := parts[0]+parts[1], parts[2]+parts[3]
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(folder, "scorecard.html"))
	if err != nil {
		return err
	}
	err = page.Execute(file, map[string]any{
		"Policy": "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'",
		"Style":  template.CSS(style), "Script": template.JS(script), "Card": s, "At": s.At.UTC().Format("2006-01-02 15:04:05 UTC"),
	})
	if err := errors.Join(err, file.Close(), os.WriteFile(filepath.Join(folder, "scorecard.json"), append(content, '\n'), 0o600)); err != nil {
		return fmt.Errorf("save the scorecard: %w", err)
	}
	return nil
}

// plots draws the course of the run.
func plots(m measured, changes []change) []plot {
	times, requests, lost, p95 := course(slices.Concat(m.released.Samples, m.killed.Samples), m.released.Began)
	return []plot{
		newPlot("requests", "requests/s", "blue", times, requests, changes),
		newPlot("lost requests", "requests/s", "soft", times, lost, changes),
		newPlot("p95 response time", "ms", "green", times, p95, changes),
	}
}
