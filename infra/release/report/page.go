package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	"platform.example/infra/uplot"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	ownStyle string
	//go:embed page.js
	ownScript string

	style  = file("uPlot.min.css") + ownStyle
	script = file("uPlot.iife.min.js") + ownScript
)

// file returns a file of uPlot. The page includes the complete file.
func file(name string) string {
	text, err := uplot.Files.ReadFile(name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(text)
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"moment": moment, "took": took, "outcomeClass": outcomeClass, "lastOld": lastOld,
}).Parse(pageText))

// policy is a Content-Security-Policy that allows only the page's own style and script.
func policy() string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; style-src " + hash(style) + "; script-src " + hash(script) + "; base-uri 'none'; form-action 'none'"
}

// view is the data of the page's template.
type view struct {
	Report
	Policy   string
	Style    template.CSS
	Script   template.JS
	Timeline []stepRow
	From, To float64 // of the timeline, in seconds since the release began
	Figures  []figure
}

// stepRow is a row of the timeline.
type stepRow struct {
	Step
	Bar      bar
	Switches []bar
}

// bar is a bar or line on the timeline, in percent of its width.
type bar struct {
	At, Width float64
	Class     string
}

// WriteHTML writes the report as a page.
func (r Report) WriteHTML(to io.Writer) error {
	course := r.course()
	return page.Execute(to, view{
		Report: r, Policy: policy(), Style: template.CSS(style), Script: template.JS(script),
		Timeline: r.stepRows(), From: r.seconds(course.from), To: r.seconds(course.to), Figures: r.figures(),
	})
}

// seconds is the time since the release began.
func (r Report) seconds(at time.Time) float64 { return at.Sub(r.Began).Seconds() }

func moment(at time.Time) string {
	if at.IsZero() {
		return "unknown"
	}
	return at.UTC().Format("2006-01-02 15:04:05 UTC")
}

func outcomeClass(outcome string) string {
	return cmp.Or(map[string]string{Released: "good", TakenBack: "careful", Failed: "bad"}[outcome], "plain")
}

// span is the time range of the plots: the release and all measurements.
func (r Report) span() span {
	whole := r.course()
	for _, series := range r.Series {
		for _, point := range series.Points {
			whole = whole.holding(point.At)
		}
	}
	return whole
}

// course is the time range of the release itself.
func (r Report) course() span {
	course := span{}.holding(r.Began).holding(r.Ended)
	for _, step := range r.Steps {
		course = course.holding(step.Began).holding(step.Began.Add(step.Took))
	}
	for _, service := range r.Services {
		course = course.holding(service.Switched).holding(service.TakenBack)
	}
	return course
}

// lastOld is how long the old colour answered after the switch.
func lastOld(service Service) string {
	switch after := service.LastOld.Sub(service.Switched); {
	case service.LastOld.IsZero():
		return "unknown"
	case after < 0:
		return "none since"
	default:
		return fmt.Sprintf("%d ms", after.Milliseconds())
	}
}

// leastBar is the minimum width of a bar in percent, so that a quick step is visible.
const leastBar = 0.4

func (r Report) stepRows() []stepRow {
	course := r.course()
	var switches []bar
	for _, service := range r.Services {
		if !service.Switched.IsZero() {
			switches = append(switches, bar{At: percent(course.share(service.Switched)), Class: "switch"})
		}
		if !service.TakenBack.IsZero() {
			switches = append(switches, bar{At: percent(course.share(service.TakenBack)), Class: "back"})
		}
	}
	var rows []stepRow
	for _, step := range r.Steps {
		from := percent(course.share(step.Began))
		width := max(percent(course.share(step.Began.Add(step.Took)))-from, leastBar)
		drawn := bar{At: min(from, 100-width), Width: width, Class: "step"}
		if step.Failed {
			drawn.Class = "step failed"
		}
		rows = append(rows, stepRow{Step: step, Bar: drawn, Switches: switches})
	}
	return rows
}

// percent rounds to two decimals.
func percent(share float64) float64 { return math.Round(share*10000) / 100 }
