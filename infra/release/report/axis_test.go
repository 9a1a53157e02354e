package report

import (
	"math"
	"testing"
	"time"
)

func nan() float64 { return math.NaN() }

// An axis rises in even steps from 0 to where everything has room, and isn't crowded.
func TestTicks(t *testing.T) {
	for _, most := range []float64{0, 1e-9, 0.0012, 0.25, 0.3, 0.7, 1, 1.0000001, 3, 5, 7, 10, 42, 299.9, 300, 1e6, 1e12} {
		marks := ticks(most)
		if n := len(marks); n < 3 || n > 6 {
			t.Errorf("%g: %d marks %v", most, n, marks)
		}
		if last := marks[len(marks)-1]; marks[0] != 0 || last < most*(1-1e-6) || most > 0 && last > 2*most {
			t.Errorf("%g: the axis goes from %g to %g", most, marks[0], last)
		}
		for i := 1; i < len(marks); i++ {
			if step := marks[i] - marks[i-1]; step <= 0 || math.Abs(step-marks[1]) > 1e-6*marks[1] {
				t.Errorf("%g: steps differ in %v", most, marks)
			}
		}
	}
	for _, odd := range []float64{-1, math.NaN(), math.Inf(1)} {
		if marks := ticks(odd); marks[len(marks)-1] != 1 {
			t.Errorf("%g: %v", odd, marks)
		}
	}
}

func TestMarksOfTime(t *testing.T) {
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
		marks := whole.marks(began, 6)
		if len(marks) == 0 || len(marks) > 7 {
			t.Errorf("%g to %g: %d marks", c.from, c.to, len(marks))
			continue
		}
		if first, last := marks[0].text, marks[len(marks)-1].text; first != c.first || last != c.last {
			t.Errorf("%g to %g: from %s to %s, want %s to %s", c.from, c.to, first, last, c.first, c.last)
		}
		for i, mark := range marks {
			if mark.at.Before(whole.from) || mark.at.After(whole.to) || i > 0 && !mark.at.After(marks[i-1].at) {
				t.Errorf("%g to %g: %v", c.from, c.to, marks)
			}
		}
	}
}

func TestDurationsAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 80 * time.Millisecond: "80 ms", 3200 * time.Millisecond: "3.2 s",
		154 * time.Second: "2 min 34 s", 3599600 * time.Millisecond: "1 h 00 min", 2*time.Hour + 3*time.Minute: "2 h 03 min",
	} {
		if got := took(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// A line ends where nothing was measured, and a measurement that stands alone is seen.
func TestGaps(t *testing.T) {
	axis := axes{whole: span{began, after(100)}, end: 10}
	path, first, last, highest := axis.path([]Point{
		{after(0), 1}, {after(5), 4}, {after(10), nan()}, {after(15), 9}, {after(20), nan()}, {after(25), 2}, {after(30), 3}, {after(90), 3},
	})
	const want = "M38 119.8h0L50.6 83.2M75.8 22.2h0M101 107.6h0L113.6 95.4M264.8 95.4h0"
	if path != want {
		t.Errorf("drawn as\n%s, want\n%s", path, want)
	}
	if first != 1 || last != 3 || highest != 9 {
		t.Errorf("from %g over %g to %g", first, highest, last)
	}
}

func TestAnObjectiveThatIsFarAwayIsOnlyTold(t *testing.T) {
	for objective, drawn := range map[float64]bool{0.1: true, 0.35: true, 5: false} {
		r := Report{Began: began, Ended: after(60), Series: []Series{{Plot: Latency, Unit: "s", Service: "a", Colour: "blue",
			Objective: objective, Points: []Point{{began, .1}, {after(60), .1}}}}}
		panel := r.figures(r.span())[0].Panels[0]
		if (panel.Objective != nil) != drawn || (panel.Note == "") != drawn {
			t.Errorf("%g s: drawn at %v, told %q", objective, panel.Objective, panel.Note)
		}
	}
}
