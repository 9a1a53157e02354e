package load

import (
	"net/http"
	"reflect"
	"testing"
	"time"
)

func TestParseTiming(t *testing.T) {
	gateway, users := Origin{"api-gateway", "green", "0123456789ab"}, Origin{"user-service", "blue", "ba9876543210"}
	for _, c := range []struct {
		name   string
		header []string
		want   []Origin
	}{
		{"no header", nil, nil},
		{"two lines", []string{`api-gateway;desc="green 0123456789ab"`, `user-service;desc="blue ba9876543210"`}, []Origin{gateway, users}},
		{"one line", []string{`api-gateway;desc="green 0123456789ab", user-service;desc="blue ba9876543210"`}, []Origin{gateway, users}},
		{"with a duration", []string{`api-gateway ; dur=1.5 ; desc="green 0123456789ab"`}, []Origin{gateway}},
		{"something else", []string{`cache;desc="hit, or; miss";dur=2, total;dur=3`, `db`, `a;desc="`, ``}, nil},
		{"no colour", []string{`api-gateway;desc="0123456789ab"`, `api-gateway;desc="red 0123456789ab"`}, nil},
	} {
		var o origins
		for range 2 { // the second result comes from the cache
			if got := o.of(http.Header{"Server-Timing": c.header}); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			}
		}
	}
}

func TestFirstAndLastResponseOfAColour(t *testing.T) {
	began := time.Now()
	sample := func(at, latency time.Duration, colour, version string) Sample {
		return Sample{At: began.Add(at), Latency: latency, Status: http.StatusOK, By: []Origin{{"user-service", colour, version}}}
	}
	r := Result{Began: began, Samples: []Sample{
		sample(2*time.Second, time.Millisecond, "green", "new"),
		sample(1*time.Second, 3*time.Second, "blue", "old"), // sent before the switch, received after it
		sample(3*time.Second, time.Millisecond, "green", "new"),
		{At: began.Add(time.Hour)},
	}}
	for _, c := range []struct {
		which       string
		first, last time.Duration
	}{
		{"blue", 4 * time.Second, 4 * time.Second},
		{"green", 2001 * time.Millisecond, 3001 * time.Millisecond},
		{"old", 4 * time.Second, 4 * time.Second},
		{"", 2001 * time.Millisecond, 4 * time.Second},
	} {
		first, last := r.FirstResponseOf("user-service", c.which).Sub(began), r.LastResponseOf("user-service", c.which).Sub(began)
		if first != c.first || last != c.last {
			t.Errorf("%q responded from %s to %s, want %s to %s", c.which, first, last, c.first, c.last)
		}
	}
	if at := r.LastResponseOf("order-service", "blue"); !at.IsZero() {
		t.Errorf("a service without responses has the time %s", at)
	}
	if shares := r.Share()["user-service"]; shares["blue"] < .33 || shares["blue"] > .34 {
		t.Errorf("shares are %v", shares)
	}
}

func TestPercentiles(t *testing.T) {
	var r Result
	if p := r.Percentile(.99); p != 0 || r.Err() == nil {
		t.Errorf("without samples: %s, %v", p, r.Err())
	}
	for i := 100; i > 0; i-- {
		r.Samples = append(r.Samples, Sample{Latency: time.Duration(i)})
	}
	for p, want := range map[float64]time.Duration{0: 1, .5: 50, .99: 99, 1: 100} {
		if got := r.Percentile(p); got != want {
			t.Errorf("p%g: %d, want %d", 100*p, got, want)
		}
	}
}
