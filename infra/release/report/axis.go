package report

import (
	"fmt"
	"time"
)

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

// steps are the possible distances between ticks.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
}

// tick is a tick of a time axis.
type tick struct {
	at   time.Time
	text string
}

// ticks returns at most most+1 evenly spaced ticks, labelled with the time since zero: 0:00, 1:00 …
func (s span) ticks(zero time.Time, most int) []tick {
	length := s.to.Sub(s.from)
	if length <= 0 {
		return []tick{{s.from, clock(s.from.Sub(zero))}}
	}
	step := steps[len(steps)-1]
	for length/step >= time.Duration(most) {
		step *= 2
	}
	for _, finer := range steps {
		if length/finer < time.Duration(most) {
			step = finer
			break
		}
	}
	var ticks []tick
	first := s.from.Sub(zero).Truncate(step)
	for after := first; !zero.Add(after).After(s.to); after += step {
		if at := zero.Add(after); !at.Before(s.from) {
			ticks = append(ticks, tick{at, clock(after)})
		}
	}
	return ticks
}

// clock formats a duration: 1:30, −0:05, 1:00:00.
func clock(after time.Duration) string {
	sign := ""
	if after < 0 {
		sign, after = "−", -after
	}
	seconds := int(after.Round(time.Second).Seconds())
	if seconds >= 3600 {
		return fmt.Sprintf("%s%d:%02d:%02d", sign, seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%s%d:%02d", sign, seconds/60, seconds%60)
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
