// Package dashboard generates the platform's dashboards from the catalog. Their queries use the series of the recording rules. Grafana
// or, without Grafana, the command dashboards shows them.
package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promql "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
)

const (
	// Prometheus is the uid of the data source of all dashboards.
	Prometheus = "prometheus"
	// Home is the uid of the first dashboard.
	Home = "platform"

	tag     = "platform" // of all dashboards
	refresh = "30s"      // two scrapes

	columnsOfGrid = 24
)

// The uids of the other dashboards that aren't for a single service.
const (
	storesUID   = "data-stores"
	releasesUID = "releases"
	costUID     = "cost"

	ofServices = "service-" // prefix of the uid of a service's dashboard. With the longest name, it is within Grafana's limit of 40 characters
	toService  = "/d/" + ofServices + "${__value.text}"
)

// Dashboard is one dashboard in Grafana's schema.
type Dashboard struct {
	Board grafana.Dashboard

	marks []mark
}

// mark is an annotation, which Grafana draws across all panels over time. It adds the text fields of Grafana's Prometheus data source,
// which the SDK's type lacks.
type mark struct {
	grafana.AnnotationQuery
	Title string `json:"titleFormat"`
	Text  string `json:"textFormat"`
	Tags  string `json:"tagKeys"`
	Step  string `json:"step"` // time between two samples
}

// UID identifies the dashboard in links.
func (d Dashboard) UID() string { return *d.Board.Uid }

// Title is the dashboard's title.
func (d Dashboard) Title() string { return *d.Board.Title }

// JSON encodes the dashboard for Grafana.
func (d Dashboard) JSON() (string, error) {
	var board any = d.Board
	if len(d.marks) > 0 {
		board = struct {
			grafana.Dashboard
			Annotations map[string][]mark `json:"annotations"` // replaces the field of the SDK
		}{d.Board, map[string][]mark{"list": d.marks}}
	}
	text, err := json.Marshal(board)
	if err != nil {
		return "", fmt.Errorf("dashboard %s: %w", d.UID(), err)
	}
	return string(text), nil
}

// Query is a query of a panel or an annotation, with its variables.
type Query struct {
	Dashboard string // its uid
	Panel     string // its title
	Expr      string
}

// Queries returns the queries of the dashboards.
func Queries(dashboards []Dashboard) []Query {
	var all []Query
	for _, d := range dashboards {
		for _, p := range d.Panels() {
			for _, target := range p.Targets {
				if query, ok := target.(promql.Dataquery); ok {
					all = append(all, Query{d.UID(), *p.Title, query.Expr})
				}
			}
		}
		for _, m := range d.marks {
			all = append(all, Query{d.UID(), m.Name, *m.Expr})
		}
	}
	return all
}

// Panels returns the panels without the row headings.
func (d Dashboard) Panels() []grafana.Panel {
	var panels []grafana.Panel
	for _, p := range d.Board.Panels {
		if p.Panel != nil {
			panels = append(panels, *p.Panel)
		}
	}
	return panels
}

// All returns all dashboards: the platform, the services, the stores, releases, the edge, the cluster, the monitoring and cost.
func All(services []catalog.Service) []Dashboard {
	plans := append([]plan{platform(services)}, slice.Map(services, ofService)...)
	return slice.Map(append(plans, stores(services), releases(services), edge(), cluster(), monitoring(), cost()), plan.build)
}

// plan is a dashboard without positions of its panels.
type plan struct {
	uid, title, about string
	since             string // start of the default time range, such as now-1h
	variables         []grafana.VariableModel
	rows              []row
	marks             []mark
}

// row is panels below a heading.
type row struct {
	title  string
	height uint32 // in units of 30 pixels
	panels []panel
}

// build places the panels from left to right, and starts a new line when a line is full.
func (p plan) build() Dashboard {
	board, others := *grafana.NewDashboard(), *grafana.NewDashboardLink()
	others.Title, others.Type, others.Tags, others.KeepTime = "Dashboards", grafana.DashboardLinkTypeDashboards, []string{tag}, true
	board.Uid, board.Title, board.Description = &p.uid, &p.title, &p.about
	board.Tags, board.Links = others.Tags, []grafana.DashboardLink{others}
	board.Editable, board.Refresh, board.GraphTooltip = new(false), new(refresh), new(grafana.DashboardCursorSyncCrosshair)
	board.Time = &grafana.DashboardDashboardTime{From: p.since, To: "now"}
	board.Templating.List = p.variables
	var y, id uint32
	for _, r := range p.rows {
		id++
		heading := grafana.NewRowPanel()
		heading.Title, heading.Id, heading.Panels = &r.title, id, []grafana.Panel{}
		heading.GridPos = &grafana.GridPos{Y: y, W: columnsOfGrid, H: 1}
		board.Panels = append(board.Panels, grafana.PanelOrRowPanel{RowPanel: heading})
		y++
		var x, line uint32
		for _, p := range r.panels {
			built := p.build()
			height := cmp.Or(p.height, r.height)
			if x+p.width > columnsOfGrid {
				x, y, line = 0, y+line, 0
			}
			id++
			built.Id = new(id)
			built.GridPos = &grafana.GridPos{X: x, Y: y, W: p.width, H: height}
			board.Panels = append(board.Panels, grafana.PanelOrRowPanel{Panel: &built})
			x, line = x+p.width, max(line, height)
		}
		y += line
	}
	return Dashboard{Board: board, marks: p.marks}
}

// switches marks the times at which a colour went live.
func switches(selector string) mark {
	expr := wentLive
	if selector != "" {
		expr = strings.ReplaceAll(expr, "service_live", "service_live{"+selector+"}")
	}
	return mark{
		AnnotationQuery: grafana.AnnotationQuery{
			Name: "A colour went live", Enable: true, IconColor: "purple", Datasource: new(source()), Expr: &expr,
		},
		Title: "{{job}}: {{colour}} went live", Tags: "job,colour", Step: "60s",
	}
}

// variable is a variable of a dashboard.
func variable(kind grafana.VariableType, name, label, query string) grafana.VariableModel {
	variable := *grafana.NewVariableModel()
	variable.Type, variable.Name, variable.Label, variable.Query = kind, name, &label, &grafana.StringOrMap{String: &query}
	return variable
}

// choice is a variable to select some of the names, by default all.
func choice(name, label string, names ...string) grafana.VariableModel {
	choice := variable(grafana.VariableTypeCustom, name, label, strings.Join(names, ","))
	choice.Multi, choice.IncludeAll, choice.AllValue = new(true), new(true), new(everywhere)
	choice.Current = &grafana.VariableOption{
		Selected: new(true),
		Text:     grafana.StringOrArrayOfString{ArrayOfString: []string{"All"}},
		Value:    grafana.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
	}
	return choice
}

// known is a variable to select some values of a label, by default all.
func known(name, label, series, of string) grafana.VariableModel {
	values := fmt.Sprintf("label_values(%s, %s)", series, of)
	known := choice(name, label, values)
	known.Type, known.Definition, known.Datasource = grafana.VariableTypeQuery, &values, new(source())
	known.Refresh, known.Sort = new(grafana.VariableRefreshOnTimeRangeChanged), new(grafana.VariableSortAlphabeticalAsc)
	return known
}

// entry is a variable for a number.
func entry(name, label, about, value string) grafana.VariableModel {
	entry, text := variable(grafana.VariableTypeTextbox, name, label, value), grafana.StringOrArrayOfString{String: &value}
	entry.Description, entry.Current = &about, &grafana.VariableOption{Text: text, Value: text}
	return entry
}

// open is a link from a panel to another dashboard.
func open(title, uid string) *grafana.DashboardLink {
	url := "/d/" + uid
	return &grafana.DashboardLink{Title: title, Type: grafana.DashboardLinkTypeLink, Url: &url, KeepTime: true, Tags: []string{}}
}

func names(services []catalog.Service) []string {
	return slice.Map(services, func(service catalog.Service) string { return service.Name })
}
