package report

import (
	"math"
	"testing"
	"time"
)

func nan() float64 { return math.NaN() }

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		from, to    float64
		first, last string
	}{
		{0, 4, "0:00", "0:04"},
		{0, 154, "0:00", "2:30"},
		{-30, 154, "0:00", "2:00"},
		{-61, 61, "−1:00", "1:00"},
		{0, 3600, "0:00", "1:00:00"},
		{0, 86400, "0:00", "24:00:00"},
		{0, 0, "0:00", "0:00"},
	} {
		whole := span{after(c.from), after(c.to)}
		ticks := whole.ticks(began, 6)
		if len(ticks) == 0 || len(ticks) > 7 {
			t.Errorf("%g to %g: %d ticks", c.from, c.to, len(ticks))
			continue
		}
		if first, last := ticks[0].text, ticks[len(ticks)-1].text; first != c.first || last != c.last {
			t.Errorf("%g to %g: from %s to %s, want %s to %s", c.from, c.to, first, last, c.first, c.last)
		}
		for i, tick := range ticks {
			if tick.at.Before(whole.from) || tick.at.After(whole.to) || i > 0 && !tick.at.After(ticks[i-1].at) {
				t.Errorf("%g to %g: %v", c.from, c.to, ticks)
			}
		}
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 80 * time.Millisecond: "80 ms", 3200 * time.Millisecond: "3.2 s",
		154 * time.Second: "2 min 34 s", 3599600 * time.Millisecond: "1 h 00 min", 2*time.Hour + 3*time.Minute: "2 h 03 min",
	} {
		if got := took(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestFarObjectiveIsANote(t *testing.T) {
	for objective, drawn := range map[float64]bool{0.1: true, 0.35: true, 5: false} {
		r := Report{Began: began, Ended: after(60), Series: []Series{{Plot: Latency, Unit: "s", Service: "a", Colour: "blue",
			Objective: objective, Points: []Point{NewPoint(began, .1), NewPoint(after(60), .1)}}}}
		panel := r.figures()[0].Panels[0]
		if (panel.Drawing.Objective != 0) != drawn || (panel.Note == "") != drawn {
			t.Errorf("%g s: drawn at %v, note %q", objective, panel.Drawing.Objective, panel.Note)
		}
	}
}
