package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	askTimeout = 20 * time.Second
	askAtOnce  = 6        // queries under way at Prometheus, which evaluates 20 at most
	mostBytes  = 32 << 20 // of an answer
	mostSeries = 60       // of one query: more lines than anybody can tell apart
)

// store is a Prometheus.
type store struct {
	at     *url.URL
	client *http.Client
	places chan struct{} // one for each query under way
}

func newStore(at *url.URL) *store {
	return &store{at: at, client: &http.Client{Timeout: askTimeout}, places: make(chan struct{}, askAtOnce)}
}

// span is the time that a query is asked over; an instant one is asked at its end.
type span struct {
	from, to time.Time
	step     time.Duration
}

// points is how many values a series has at most.
func (s span) points() int { return int(s.to.Sub(s.from)/s.step) + 1 }

// series is one line of an answer. A value is nil where there is none. Of an instant query there's one value.
type series struct {
	Labels map[string]string `json:"labels"`
	Values []*float64        `json:"values"`
}

// over asks for values over time, at each step of the span.
func (s *store) over(ctx context.Context, expr string, asked span) ([]series, error) {
	return s.query(ctx, "query_range", asked, url.Values{
		"query": {expr}, "start": {stamp(asked.from)}, "end": {stamp(asked.to)},
		"step": {strconv.FormatFloat(asked.step.Seconds(), 'f', -1, 64)},
	})
}

// now asks for the values at the end of the span.
func (s *store) now(ctx context.Context, expr string, asked span) ([]series, error) {
	return s.query(ctx, "query", span{asked.to, asked.to, time.Second}, url.Values{"query": {expr}, "time": {stamp(asked.to)}})
}

func stamp(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

type sample struct {
	at    float64 // seconds since 1970
	value float64
}

// UnmarshalJSON reads [ seconds, "value" ].
func (s *sample) UnmarshalJSON(text []byte) error {
	var value string
	if err := json.Unmarshal(text, &[]any{&s.at, &value}); err != nil {
		return err
	}
	read, err := strconv.ParseFloat(value, 64)
	s.value = read
	return err
}

func (s *store) query(ctx context.Context, path string, asked span, form url.Values) ([]series, error) {
	var data struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := s.ask(ctx, path, form, &data); err != nil {
		return nil, err
	}
	if data.ResultType == "scalar" {
		var one sample
		if err := json.Unmarshal(data.Result, &one); err != nil {
			return nil, fmt.Errorf("reading what Prometheus answers: %w", err)
		}
		return []series{{Labels: map[string]string{}, Values: onto(asked, one)}}, nil
	}
	var result []struct {
		Metric map[string]string `json:"metric"`
		Value  *sample           `json:"value"`
		Values []sample          `json:"values"`
	}
	if err := json.Unmarshal(data.Result, &result); err != nil {
		return nil, fmt.Errorf("reading what Prometheus answers: %w", err)
	}
	all := make([]series, 0, len(result))
	for _, r := range result {
		if r.Value != nil {
			r.Values = []sample{*r.Value}
		}
		all = append(all, series{Labels: r.Metric, Values: onto(asked, r.Values...)})
	}
	return all, nil
}

// onto puts samples at their steps. JSON has no word for what isn't a number, or is infinite: those count as none.
func onto(asked span, samples ...sample) []*float64 {
	values := make([]*float64, asked.points())
	start := float64(asked.from.UnixMilli()) / 1000
	for _, s := range samples {
		i := int(math.Round((s.at - start) / asked.step.Seconds()))
		if i >= 0 && i < len(values) && !math.IsNaN(s.value) && !math.IsInf(s.value, 0) {
			value := s.value
			values[i] = &value
		}
	}
	return values
}

// values is those that a label has in the series that match, within the span.
func (s *store) values(ctx context.Context, label, match string, asked span) ([]string, error) {
	var values []string
	err := s.ask(ctx, "label/"+url.PathEscape(label)+"/values", url.Values{
		"match[]": {match}, "start": {stamp(asked.from)}, "end": {stamp(asked.to)},
	}, &values)
	return values, err
}

// ask waits for a place, asks, and reads the data of the answer.
func (s *store) ask(ctx context.Context, path string, form url.Values, data any) error {
	select {
	case s.places <- struct{}{}:
		defer func() { <-s.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	at := s.at.JoinPath("api/v1", path)
	method, body := http.MethodPost, io.Reader(strings.NewReader(form.Encode()))
	if strings.HasPrefix(path, "label/") {
		at.RawQuery, method, body = form.Encode(), http.MethodGet, nil
	}
	request, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return err
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := fetch(s.client, request, &answer); err != nil {
		return fmt.Errorf("prometheus at %s: %w", s.at.Redacted(), err)
	}
	if answer.Status != "success" {
		return errors.New(answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// fetch reads an answer in JSON, whatever its status is: Prometheus says in it what is wrong with a query.
func fetch(client *http.Client, request *http.Request, into any) error {
	response, err := client.Do(request)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without the query, which is shown beside
		}
		return fmt.Errorf("doesn't answer: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostBytes))
	if err != nil {
		return fmt.Errorf("breaks off: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("answers %s and no JSON", response.Status)
	}
	return nil
}
