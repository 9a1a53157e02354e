package report

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func nan() float64 { return math.NaN() }

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		from, to float64
		want     string
	}{
		{0, 4, "0:00 0:01 0:02 0:03 0:04"},
		{0, 12, "0:00 0:05 0:10"},
		{0, 154, "0:00 0:30 1:00 1:30 2:00 2:30"},
		{-30, 154, "0:00 1:00 2:00"},
		{-61, 61, "−1:00 −0:30 0:00 0:30 1:00"},
		{0, 3600, "0:00 15:00 30:00 45:00 1:00:00"},
		{0, 86400, "0:00 8:00:00 16:00:00 24:00:00"},
		{0, 0, "0:00"},
		{0.6, 0.6, "0:01"},
	} {
		whole := span{after(c.from), after(c.to)}
		ticks := whole.ticks(began, 6)
		var texts []string
		for i, tick := range ticks {
			texts = append(texts, tick.text)
			if tick.at.Before(whole.from) || tick.at.After(whole.to) || i > 0 && !tick.at.After(ticks[i-1].at) {
				t.Errorf("%g to %g: %v", c.from, c.to, ticks)
			}
		}
		if got := strings.Join(texts, " "); got != c.want {
			t.Errorf("%g to %g: %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

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

func TestClock(t *testing.T) {
	for seconds, want := range map[float64]string{0: "0:00", 59.6: "1:00", -5: "−0:05", 3599: "59:59", 3600: "1:00:00", 7384: "2:03:04"} {
		if got := clock(time.Duration(seconds * float64(time.Second))); got != want {
			t.Errorf("%g s: %s, want %s", seconds, got, want)
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
