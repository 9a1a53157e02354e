package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// figure is all plots of one kind.
type figure struct {
	Title, Unit string
	Panels      []*panel
}

// panel is the plot of one service.
type panel struct {
	Service string
	Label   string // description for screen readers
	Empty   bool   // no measurements
	Note    string
	Drawing drawing
}

// drawing is the input of page.js: times in seconds since the release began, values in the figure's unit.
type drawing struct {
	From      float64  `json:"from"`
	To        float64  `json:"to"`
	Top       float64  `json:"top"`                 // of the highest value in the figure
	Objective float64  `json:"objective,omitempty"` // only if it is within the plot
	Lines     []line   `json:"lines"`
	Switches  []change `json:"switches"`
}

// line is the measurements of a colour. A nil value is a gap.
type line struct {
	Colour string     `json:"colour"`
	Times  []float64  `json:"times"`
	Values []*float64 `json:"values"`
}

// change is a switch or a rollback.
type change struct {
	At   float64 `json:"at"`
	Back bool    `json:"back"`
}

// figures are the plots of the series, in the order in which their kinds and services first appear.
func (r Report) figures() []figure {
	var figures []figure
	whole := r.span()
	for _, series := range r.Series {
		if !slices.ContainsFunc(figures, func(f figure) bool { return f.Title == string(series.Plot) }) {
			figures = append(figures, r.figure(series.Plot, series.Unit, whole))
		}
	}
	return figures
}

// objectiveWithin is the highest objective that is drawn, in multiples of the highest measurement. A higher one would flatten the lines.
const objectiveWithin = 4

func (r Report) figure(plot Plot, unit string, whole span) figure {
	drawn := figure{Title: string(plot), Unit: unit}
	all := slices.DeleteFunc(slices.Clone(r.Series), func(s Series) bool { return s.Plot != plot })
	highest := 0.0
	for _, series := range all {
		for _, point := range series.Points {
			if point.Value != nil {
				highest = max(highest, *point.Value)
			}
		}
	}
	factor := 1.0
	if unit == "s" && highest < 2 {
		factor, drawn.Unit = 1000, "ms"
	}
	if drawn.Unit == drawn.Title {
		drawn.Unit = ""
	}
	for _, series := range all {
		i := slices.IndexFunc(drawn.Panels, func(p *panel) bool { return p.Service == series.Service })
		if i < 0 {
			i = len(drawn.Panels)
			drawn.Panels = append(drawn.Panels, r.panel(plot, series.Service, whole, highest*factor))
		}
		drawn.Panels[i].add(series, r.Began, factor, drawn.Unit)
	}
	return drawn
}

func (r Report) panel(plot Plot, service string, whole span, top float64) *panel {
	p := &panel{Service: service, Empty: true, Label: fmt.Sprintf("%s, %s.", service, plot)}
	p.Drawing = drawing{From: r.seconds(whole.from), To: r.seconds(whole.to), Top: top}
	for _, s := range r.Services {
		if s.Name == service && !s.Switched.IsZero() {
			p.Drawing.Switches = append(p.Drawing.Switches, change{At: r.seconds(s.Switched)})
		}
		if s.Name == service && !s.TakenBack.IsZero() {
			p.Drawing.Switches = append(p.Drawing.Switches, change{At: r.seconds(s.TakenBack), Back: true})
		}
	}
	return p
}

func (p *panel) add(series Series, began time.Time, factor float64, unit string) {
	drawn := line{Colour: colourClass(series.Colour)}
	var values []float64
	for _, point := range series.Points {
		var value *float64
		if point.Value != nil {
			scaled := *point.Value * factor
			value, values = &scaled, append(values, scaled)
		}
		drawn.Times, drawn.Values = append(drawn.Times, point.At.Sub(began).Seconds()), append(drawn.Values, value)
	}
	if len(values) == 0 {
		return
	}
	p.Empty = false
	p.Drawing.Lines = append(p.Drawing.Lines, drawn)
	p.Label += strings.TrimRight(fmt.Sprintf(" %s: %.4g at first, at most %.4g, %.4g at last %s", series.Colour, values[0], slices.Max(values), values[len(values)-1], unit), " ") + "."
	switch objective := series.Objective * factor; {
	case objective <= 0:
	case objective <= objectiveWithin*p.Drawing.Top:
		p.Drawing.Objective = objective
	default:
		p.Note = fmt.Sprintf("objective: %.4g %s, above the plot", objective, unit)
	}
}

// colourClass is the CSS variable of a line's colour.
func colourClass(colour string) string {
	if colour == "blue" || colour == "green" {
		return colour
	}
	return "soft"
}

// span is the time range of an axis.
type span struct{ from, to time.Time }

// holding extends the span to at. It ignores the zero time.
func (s span) holding(at time.Time) span {
	if at.IsZero() {
		return s
	}
	if s.from.IsZero() || at.Before(s.from) {
		s.from = at
	}
	if s.to.IsZero() || at.After(s.to) {
		s.to = at
	}
	return s
}

// share is the position of at, from 0 (from) to 1 (to).
func (s span) share(at time.Time) float64 {
	if !s.to.After(s.from) {
		return 0
	}
	return min(max(float64(at.Sub(s.from))/float64(s.to.Sub(s.from)), 0), 1)
}

// took formats a duration: 80 ms, 3.2 s, 2 min 34 s, 2 h 03 min.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	if d < time.Hour {
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
}
