package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// frame is the geometry of a plot, in units of its own drawing: about the pixels in which it is shown.
type frame struct{ Width, Height, Left, Right, Top, Bottom float64 }

// paper leaves room for the values at the left and for the times below.
var paper = frame{Width: 300, Height: 150, Left: 38, Right: 290, Top: 10, Bottom: 132}

// Inner is the width of what lies between the axes.
func (f frame) Inner() float64 { return f.Right - f.Left }

// figure is all plots of one kind.
type figure struct {
	Title, Unit string
	Panels      []panel
}

// panel is the plot of one service.
type panel struct {
	Service   string
	Label     string // what there is to see, for those who can't
	Empty     bool   // nothing was measured
	Note      string
	Values    []mark
	Times     []mark
	Switches  []mark
	Lines     []line
	Objective *mark // where it's within the plot
}

// mark is a place on an axis, in units of the drawing, with what is written there.
type mark struct {
	At    float64
	Text  string
	Class string
}

// Above is how much of the plot lies above the mark.
func (m mark) Above() float64 { return m.At - paper.Top }

// line is what was measured of a colour.
type line struct{ Class, Path string }

// figures draws the series, in the order in which their plots and services first appear.
func (r Report) figures(whole span) []figure {
	var plots []Plot
	byPlot := map[Plot][]Series{}
	for _, series := range r.Series {
		if byPlot[series.Plot] == nil {
			plots = append(plots, series.Plot)
		}
		byPlot[series.Plot] = append(byPlot[series.Plot], series)
	}
	var figures []figure
	for _, plot := range plots {
		figures = append(figures, r.figure(plot, byPlot[plot], whole))
	}
	return figures
}

// objectiveWithin is how many times as high as all measurements an objective may be to be drawn: higher, it would press
// them flat.
const objectiveWithin = 4

func (r Report) figure(plot Plot, all []Series, whole span) figure {
	highest, objective, unit := 0.0, 0.0, ""
	var services []string
	for _, series := range all {
		for _, point := range series.Points {
			if point.measured() {
				highest = max(highest, point.Value)
			}
		}
		objective = max(objective, series.Objective)
		if !slices.Contains(services, series.Service) {
			services = append(services, series.Service)
		}
		if unit == "" {
			unit = series.Unit
		}
	}
	top := highest
	if objective <= objectiveWithin*highest {
		top = max(top, 1.05*objective) // what is beyond it is seen
	}
	values := ticks(top)
	axis := axes{whole: whole, end: values[len(values)-1]}
	axis.scale = scaleOf(unit, axis.end)
	drawn := figure{Title: string(plot), Unit: axis.scale.unit}
	if drawn.Unit == drawn.Title {
		drawn.Unit = ""
	}
	for _, service := range services {
		panel := axis.panel(service, slices.DeleteFunc(slices.Clone(all), func(s Series) bool { return s.Service != service }))
		if !panel.Empty {
			for _, value := range values {
				panel.Values = append(panel.Values, mark{At: axis.y(value), Text: axis.scale.write(value)})
			}
			for _, tick := range whole.marks(r.Began, 6) {
				panel.Times = append(panel.Times, mark{At: axis.x(tick.at), Text: tick.text})
			}
			panel.Switches = r.switches(axis, service)
		}
		panel.Label = strings.TrimSpace(fmt.Sprintf("%s, %s. %s", service, plot, panel.Label))
		drawn.Panels = append(drawn.Panels, panel)
	}
	return drawn
}

// switches is when a service went from one colour to the other.
func (r Report) switches(axis axes, service string) []mark {
	var marks []mark
	for _, s := range r.Services {
		if s.Name != service {
			continue
		}
		if !s.Switched.IsZero() {
			marks = append(marks, mark{At: axis.x(s.Switched), Text: "switch", Class: "switch"})
		}
		if !s.TakenBack.IsZero() {
			marks = append(marks, mark{At: axis.x(s.TakenBack), Text: "taken back", Class: "back"})
		}
	}
	return marks
}

// axes is where times and values lie in a plot.
type axes struct {
	whole span
	end   float64 // of the values
	scale scale
}

func (a axes) x(at time.Time) float64 {
	return tenth(paper.Left + a.whole.share(at)*paper.Inner())
}

func (a axes) y(value float64) float64 {
	return tenth(paper.Bottom - min(max(value/a.end, 0), 1)*(paper.Bottom-paper.Top))
}

// tenth is as exact as anybody sees.
func tenth(v float64) float64 { return math.Round(v*10) / 10 }

func (a axes) panel(service string, all []Series) panel {
	drawn := panel{Service: service, Empty: true}
	var said []string
	for _, series := range all {
		path, first, last, highest := a.path(series.Points)
		if path == "" {
			continue
		}
		drawn.Empty = false
		drawn.Lines = append(drawn.Lines, line{Class: colourClass(series.Colour), Path: path})
		said = append(said, fmt.Sprintf("%s: %s at first, at most %s, %s at last (%s)", series.Colour,
			a.scale.write(first), a.scale.write(highest), a.scale.write(last), a.scale.unit))
	}
	if drawn.Empty {
		drawn.Label = "No measurements."
		return drawn
	}
	for _, series := range all {
		switch {
		case series.Objective <= 0 || drawn.Objective != nil || drawn.Note != "":
		case series.Objective <= a.end:
			drawn.Objective = &mark{At: a.y(series.Objective), Text: a.scale.write(series.Objective)}
		default:
			drawn.Note = fmt.Sprintf("objective: %s %s, above the plot", a.scale.write(series.Objective), a.scale.unit)
		}
	}
	drawn.Label = strings.Join(said, "; ") + "."
	return drawn
}

// colourClass is how a line is drawn: only the two colours have one of their own.
func colourClass(colour string) string {
	if colour == "blue" || colour == "green" {
		return colour
	}
	return "other"
}

// path draws points as the path of an SVG, with a gap where nothing was measured; "" if nothing was at all.
func (a axes) path(points []Point) (path string, first, last, highest float64) {
	var text strings.Builder
	longest := gap(points)
	var before time.Time // of the point that the next is joined to; zero: none
	for _, point := range points {
		if !point.measured() {
			before = time.Time{}
			continue
		}
		switch {
		case before.IsZero() || point.At.Sub(before) > longest:
			if text.Len() == 0 {
				first, highest = point.Value, point.Value
			}
			// Of no length, so that a point that stands alone is a dot.
			fmt.Fprintf(&text, "M%g %gh0", a.x(point.At), a.y(point.Value))
		default:
			fmt.Fprintf(&text, "L%g %g", a.x(point.At), a.y(point.Value))
		}
		before, last, highest = point.At, point.Value, max(highest, point.Value)
	}
	return text.String(), first, last, highest
}

// gap is the distance from which two points aren't joined: three times what is usual among them.
func gap(points []Point) time.Duration {
	var distances []time.Duration
	for i := 1; i < len(points); i++ {
		distances = append(distances, points[i].At.Sub(points[i-1].At))
	}
	if len(distances) == 0 {
		return 0
	}
	slices.Sort(distances)
	return 3 * distances[len(distances)/2]
}
