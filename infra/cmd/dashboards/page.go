package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promql "github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"platform.example/infra/monitoring/dashboard"
)

//go:embed static
var static embed.FS

// policy lets the page load what this server has, and nothing else from anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page answers browsers.
type page struct {
	http.Handler

	dashboards []dashboard.Dashboard
	store      *store
	alerts     *url.URL // of Alertmanager; without a host for none
	client     *http.Client
}

func newPage(dashboards []dashboard.Dashboard, prometheus, alertmanager *url.URL) (*page, error) {
	files, err := fs.Sub(static, "static")
	if err != nil {
		return nil, err
	}
	p := &page{
		dashboards: dashboards, store: newStore(prometheus), alerts: alertmanager, client: &http.Client{Timeout: askTimeout},
	}
	routes := http.NewServeMux()
	index := func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "page.html") }
	routes.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/d/"+dashboard.Home, http.StatusFound)
	})
	routes.HandleFunc("GET /d/{uid}", index)
	routes.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(files)))
	routes.HandleFunc("GET /api/dashboards", p.list)
	routes.HandleFunc("GET /api/dashboards/{uid}", p.of(p.whole))
	routes.HandleFunc("GET /api/dashboards/{uid}/panels/{id}", p.of(p.panel))
	routes.HandleFunc("GET /api/dashboards/{uid}/variables/{name}", p.of(p.variable))
	routes.HandleFunc("GET /api/dashboards/{uid}/annotations", p.of(p.annotations))
	routes.HandleFunc("GET /api/alerts", p.firing)
	p.Handler = guarded(routes)
	return p, nil
}

// guarded refuses what comes in another name than this machine's: a page elsewhere may have pointed its name here, to
// read with the visitor's browser what only the visitor may see.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		host := r.Host
		if name, _, err := net.SplitHostPort(r.Host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			refuse(w, http.StatusMisdirectedRequest, fmt.Errorf("this page is at localhost, not at %q", host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// list is what there is to choose from.
func (p *page) list(w http.ResponseWriter, _ *http.Request) {
	type entry struct {
		UID   string `json:"uid"`
		Title string `json:"title"`
	}
	var entries []entry
	for _, d := range p.dashboards {
		entries = append(entries, entry{d.UID(), d.Title()})
	}
	answer(w, map[string]any{"home": dashboard.Home, "alertmanager": p.alerts.Host != "", "dashboards": entries})
}

// of finds the dashboard that a request is about, and what is chosen in it.
func (p *page) of(next func(http.ResponseWriter, *http.Request, request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		i := slices.IndexFunc(p.dashboards, func(d dashboard.Dashboard) bool { return d.UID() == r.PathValue("uid") })
		if i < 0 {
			refuse(w, http.StatusNotFound, fmt.Errorf("there is no dashboard %q", r.PathValue("uid")))
			return
		}
		asked, err := spanOf(r.URL.Query(), time.Now())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		board := p.dashboards[i]
		variables := board.Board.Templating.List
		next(w, r, request{board, asked, variables, choose(variables, r.URL.Query())})
	}
}

type request struct {
	dashboard.Dashboard
	span      span
	variables []grafana.VariableModel
	chosen    chosen
}

func (r request) interpolate(expr string) string {
	return interpolate(expr, r.variables, r.chosen, r.span)
}

// whole is the dashboard as Grafana would be given it.
func (p *page) whole(w http.ResponseWriter, _ *http.Request, asked request) {
	text, err := asked.JSON()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(text))
}

// line is a series with its words.
type line struct {
	Query  string `json:"query"` // its letter
	Legend string `json:"legend"`
	series
}

// fault is why a query has no answer.
type fault struct {
	Query string `json:"query"`
	Expr  string `json:"expr"`
	Error string `json:"error"`
}

// picture is what a panel shows.
type picture struct {
	Start   float64  `json:"start"` // seconds since 1970
	Step    float64  `json:"step"`  // seconds
	Points  int      `json:"points"`
	Lines   []line   `json:"lines"`
	Faults  []fault  `json:"faults"`
	Left    int      `json:"left"`    // lines beyond the most that are shown
	Queries []string `json:"queries"` // as they were asked
}

// panel asks the queries of one panel.
func (p *page) panel(w http.ResponseWriter, r *http.Request, asked request) {
	panels := asked.Panels()
	i := slices.IndexFunc(panels, func(panel grafana.Panel) bool { return fmt.Sprint(*panel.Id) == r.PathValue("id") })
	if i < 0 {
		refuse(w, http.StatusNotFound, fmt.Errorf("%s has no panel %q", asked.UID(), r.PathValue("id")))
		return
	}
	targets := panels[i].Targets
	answers := make([][]series, len(targets))
	faults := make([]error, len(targets))
	shown := picture{
		Start: float64(asked.span.from.Unix()), Step: asked.span.step.Seconds(), Points: asked.span.points(),
		Lines: []line{}, Faults: []fault{}, Queries: []string{},
	}
	var working sync.WaitGroup
	for i, target := range targets {
		query := target.(promql.Dataquery) // All makes no others
		expr := asked.interpolate(query.Expr)
		shown.Queries = append(shown.Queries, expr)
		working.Go(func() {
			ask := p.store.over
			if query.Instant != nil && *query.Instant {
				ask = p.store.now
			}
			answers[i], faults[i] = ask(r.Context(), expr, asked.span)
		})
	}
	working.Wait()
	for i, target := range targets {
		query := target.(promql.Dataquery)
		if faults[i] != nil {
			shown.Faults = append(shown.Faults, fault{*query.RefId, shown.Queries[i], faults[i].Error()})
		}
		if len(answers[i]) > mostSeries {
			shown.Left += len(answers[i]) - mostSeries
			answers[i] = answers[i][:mostSeries]
		}
		for _, s := range answers[i] {
			shown.Lines = append(shown.Lines, line{*query.RefId, legend(*query.LegendFormat, s.Labels), s})
		}
	}
	answer(w, shown)
}

// variable is the values that one can choose.
func (p *page) variable(w http.ResponseWriter, r *http.Request, asked request) {
	i := slices.IndexFunc(asked.variables, func(v grafana.VariableModel) bool { return v.Name == r.PathValue("name") })
	if i < 0 {
		refuse(w, http.StatusNotFound, fmt.Errorf("%s has no variable %q", asked.UID(), r.PathValue("name")))
		return
	}
	query := *asked.variables[i].Query.String
	parts := labelValues.FindStringSubmatch(query)
	if parts == nil {
		answer(w, strings.Split(query, ","))
		return
	}
	values, err := p.store.values(r.Context(), parts[2], asked.interpolate(parts[1]), asked.span)
	if err != nil {
		refuse(w, http.StatusBadGateway, err)
		return
	}
	answer(w, values)
}

// event is something that happened.
type event struct {
	At     float64           `json:"at"` // seconds since 1970
	Title  string            `json:"title"`
	Labels map[string]string `json:"labels"`
}

// annotations is what happened: the first of the samples above 0 that follow each other.
func (p *page) annotations(w http.ResponseWriter, r *http.Request, asked request) {
	var marks struct {
		Annotations struct {
			List []struct {
				Expr  string `json:"expr"`
				Title string `json:"titleFormat"`
			} `json:"list"`
		} `json:"annotations"`
	}
	text, err := asked.JSON()
	if err == nil {
		err = json.Unmarshal([]byte(text), &marks)
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	span := asked.span
	span.step = max(time.Minute, (span.to.Sub(span.from) / 10000).Round(time.Minute)) // as Grafana's data source has it
	events := []event{}
	for _, mark := range marks.Annotations.List {
		if mark.Expr == "" {
			continue
		}
		found, err := p.store.over(r.Context(), asked.interpolate(mark.Expr), span)
		if err != nil {
			refuse(w, http.StatusBadGateway, err)
			return
		}
		for _, s := range found {
			before := false
			for i, value := range s.Values {
				is := value != nil && *value > 0
				if is && !before {
					events = append(events, event{float64(span.from.Unix()) + float64(i)*span.step.Seconds(), legend(mark.Title, s.Labels), s.Labels})
				}
				before = is
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.At - b.At) })
	answer(w, events)
}

// alert is one that fires, as Alertmanager's API v2 has it.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	Status      struct {
		State string `json:"state"` // active, or suppressed by a silence or another alert
	} `json:"status"`
}

// firing is the alerts that Alertmanager has, the loudest and oldest first.
func (p *page) firing(w http.ResponseWriter, r *http.Request) {
	if p.alerts.Host == "" {
		answer(w, []alert{})
		return
	}
	alerts, err := p.fetchAlerts(r.Context())
	if err != nil {
		refuse(w, http.StatusBadGateway, fmt.Errorf("alertmanager at %s: %w", p.alerts.Redacted(), err))
		return
	}
	answer(w, alerts)
}

func (p *page) fetchAlerts(ctx context.Context) ([]alert, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.alerts.JoinPath("api/v2/alerts").String(), nil)
	if err != nil {
		return nil, err
	}
	alerts := []alert{}
	if err := fetch(p.client, request, &alerts); err != nil {
		return nil, err
	}
	// What always fires, to show that alerting works, asks for nothing.
	alerts = slices.DeleteFunc(alerts, func(a alert) bool { return a.Labels["severity"] == "none" })
	slices.SortFunc(alerts, func(a, b alert) int {
		if c := strings.Compare(a.Labels["severity"], b.Labels["severity"]); c != 0 { // page is before ticket
			return c
		}
		return a.StartsAt.Compare(b.StartsAt)
	})
	return alerts, nil
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Println("dashboards: an answer broke off:", err)
	}
}

func refuse(w http.ResponseWriter, status int, cause error) {
	if errors.Is(cause, context.Canceled) {
		return // nobody waits any more
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": cause.Error()})
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
