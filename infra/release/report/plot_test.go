package report

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func nan() float64 { return math.NaN() }

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 80 * time.Millisecond: "80 ms", time.Second: "1.0 s", 3200 * time.Millisecond: "3.2 s", time.Minute: "1 min 00 s",
		154 * time.Second: "2 min 34 s", 3599600 * time.Millisecond: "1 h 00 min", 2*time.Hour + 3*time.Minute: "2 h 03 min",
	} {
		if got := took(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// A panel has the measurements of one service, in seconds since the start and in the unit of all panels.
func TestPanels(t *testing.T) {
	series := func(service string, values ...float64) Series {
		s := Series{Plot: Latency, Unit: "s", Service: service, Colour: "green"}
		for i, value := range values {
			s.Points = append(s.Points, NewPoint(after(float64(10*i-10)), value))
		}
		return s
	}
	for _, c := range []struct {
		highest, factor float64
		unit            string
	}{{1.5, 1000, "ms"}, {2, 1, "s"}} {
		r := Report{Began: began, Ended: after(20), Series: []Series{series("a", .25, nan(), c.highest), series("b", .5)},
			Services: []Service{{Name: "a", Switched: after(2)}, {Name: "b", Switched: after(3), TakenBack: after(4)}, {Name: "c", Switched: after(5)}}}
		figure := r.figures()[0]
		if len(figure.Panels) != 2 || figure.Unit != c.unit {
			t.Fatalf("drawn: %+v", figure)
		}
		first, last := .25*c.factor, c.highest*c.factor
		want := drawing{From: -10, To: 20, Top: last, Switches: []change{{At: 2}},
			Lines: []line{{Colour: "green", Times: []float64{-10, 0, 10}, Values: []*float64{&first, nil, &last}}}}
		if got := figure.Panels[0].Drawing; !reflect.DeepEqual(got, want) {
			t.Errorf("the drawing is %+v, want %+v", got, want)
		}
		if got := figure.Panels[1].Drawing; !reflect.DeepEqual(got.Switches, []change{{At: 3}, {At: 4, Back: true}}) || got.Top != last {
			t.Errorf("the second drawing is %+v", got)
		}
	}
}

func TestFarObjectiveIsANote(t *testing.T) {
	for objective, drawn := range map[float64]bool{0.1: true, 0.4: true, 5: false} {
		r := Report{Began: began, Ended: after(60), Series: []Series{{Plot: Latency, Unit: "s", Service: "a", Colour: "blue",
			Objective: objective, Points: []Point{NewPoint(began, .1), NewPoint(after(60), .1)}}}}
		panel := r.figures()[0].Panels[0]
		if (panel.Drawing.Objective != 0) != drawn || (panel.Note == "") != drawn {
			t.Errorf("%g s: drawn at %v, note %q", objective, panel.Drawing.Objective, panel.Note)
		}
	}
}
