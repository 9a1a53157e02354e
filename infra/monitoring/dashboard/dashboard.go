// Package dashboard generates the platform's dashboards from the catalog. Their queries use the series of the recording rules. Grafana
// or, without Grafana, the command dashboards shows them.
package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
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
func All(services []catalog.Service) ([]Dashboard, error) {
	plans := append([]plan{platform(services)}, slice.Map(services, ofService)...)
	var all []Dashboard
	for _, p := range append(plans, stores(services), releases(services), edge(), cluster(), monitoring(), cost()) {
		built, err := p.build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", p.uid, err)
		}
		all = append(all, built)
	}
	return all, nil
}

// plan is a dashboard without positions of its panels.
type plan struct {
	uid, title, about string
	since             string // start of the default time range, such as now-1h
	variables         []cog.Builder[grafana.VariableModel]
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
func (p plan) build() (Dashboard, error) {
	builder := grafana.NewDashboardBuilder(p.title).Uid(p.uid).Description(p.about).Tags([]string{tag}).
		Readonly().Refresh(refresh).Time(p.since, "now").Timezone("browser").Tooltip(grafana.DashboardCursorSyncCrosshair).
		Link(grafana.NewDashboardLinkBuilder("Dashboards").Type(grafana.DashboardLinkTypeDashboards).
			Tags([]string{tag}).KeepTime(true))
	for _, variable := range p.variables {
		builder = builder.WithVariable(variable)
	}
	board, err := builder.Build()
	if err != nil {
		return Dashboard{}, err
	}
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
			built, err := p.build()
			if err != nil {
				return Dashboard{}, err
			}
			height := cmp.Or(p.height, r.height)
			if x+p.width > columnsOfGrid {
				x, y, line = 0, y+line, 0
			}
			id++
			number := id
			built.Id = &number
			built.GridPos = &grafana.GridPos{X: x, Y: y, W: p.width, H: height}
			board.Panels = append(board.Panels, grafana.PanelOrRowPanel{Panel: &built})
			x, line = x+p.width, max(line, height)
		}
		y += line
	}
	return Dashboard{Board: board, marks: p.marks}, nil
}

// switches marks the times at which a colour went live.
func switches(selector string) mark {
	expr := wentLive
	if selector != "" {
		expr = strings.ReplaceAll(expr, "service_live", "service_live{"+selector+"}")
	}
	return mark{
		AnnotationQuery: grafana.AnnotationQuery{
			Name: "A colour went live", Enable: true, IconColor: "purple", Datasource: cog.ToPtr(source()), Expr: &expr,
		},
		Title: "{{job}}: {{colour}} went live", Tags: "job,colour", Step: "60s",
	}
}

// choice is a variable to select some of the names, by default all.
func choice(name, label string, names []string) cog.Builder[grafana.VariableModel] {
	list := strings.Join(names, ",")
	return grafana.NewCustomVariableBuilder(name).Label(label).Values(grafana.StringOrMap{String: &list}).
		Multi(true).IncludeAll(true).AllValue(".*").Current(everything())
}

// known is a variable to select some values of a label, by default all.
func known(name, label, series, of string) cog.Builder[grafana.VariableModel] {
	values := fmt.Sprintf("label_values(%s, %s)", series, of)
	return grafana.NewQueryVariableBuilder(name).Label(label).Query(grafana.StringOrMap{String: &values}).Definition(values).
		Datasource(source()).Refresh(grafana.VariableRefreshOnTimeRangeChanged).Sort(grafana.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(".*").Current(everything())
}

func everything() grafana.VariableOption {
	return grafana.VariableOption{
		Selected: cog.ToPtr(true),
		Text:     grafana.StringOrArrayOfString{ArrayOfString: []string{"All"}},
		Value:    grafana.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
	}
}

// entry is a variable for a number.
func entry(name, label, about, value string) cog.Builder[grafana.VariableModel] {
	return grafana.NewTextBoxVariableBuilder(name).Label(label).Description(about).
		DefaultValue(grafana.StringOrMap{String: &value}).
		Current(grafana.VariableOption{
			Text: grafana.StringOrArrayOfString{String: &value}, Value: grafana.StringOrArrayOfString{String: &value},
		})
}

// open is a link from a panel to another dashboard.
func open(title, uid string) *grafana.DashboardLink {
	url := "/d/" + uid
	return &grafana.DashboardLink{Title: title, Type: grafana.DashboardLinkTypeLink, Url: &url, KeepTime: true, Tags: []string{}}
}

func names(services []catalog.Service) []string {
	return slice.Map(services, func(service catalog.Service) string { return service.Name })
}
