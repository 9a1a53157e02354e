// Package dashboard has the dashboards of the platform as values: made from the same catalog as the services, asking for
// the same series that the rules record. Grafana shows them, and where there is none, the command dashboards.
package dashboard

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promql "github.com/grafana/grafana-foundation-sdk/go/prometheus"

	"platform.example/infra/catalog"
)

const (
	// Prometheus is the uid of the data source that all dashboards ask.
	Prometheus = "prometheus"
	// Home is the uid of the dashboard to begin with.
	Home = "platform"

	tag     = "platform" // what the dashboards are found by
	refresh = "30s"      // two scrapes

	columnsOfGrid = 24 // of Grafana's grid
	longestUID    = 40 // that Grafana takes
)

// The uids of the dashboards that stand for no single service.
const (
	storesUID   = "data-stores"
	releasesUID = "releases"
	costUID     = "cost"

	ofServices = "service-" // begins the uid of a service's dashboard
	toService  = "/d/" + ofServices + "${__value.text}"
)

// Dashboard is one dashboard, as Grafana's schema has it.
type Dashboard struct {
	Board grafana.Dashboard

	marks []mark
}

// mark is an annotation: something that happened, drawn across all panels over time. The SDK's type has no place for how
// Grafana's data source words it.
type mark struct {
	grafana.AnnotationQuery
	Title string `json:"titleFormat"`
	Text  string `json:"textFormat"`
	Tags  string `json:"tagKeys"`
	Step  string `json:"step"` // at most one sample for each
}

// UID names the dashboard in links.
func (d Dashboard) UID() string { return *d.Board.Uid }

// Title is for people.
func (d Dashboard) Title() string { return *d.Board.Title }

// JSON is what Grafana loads.
func (d Dashboard) JSON() (string, error) {
	plain, err := json.Marshal(d.Board)
	if err != nil {
		return "", fmt.Errorf("dashboard %s: %w", d.UID(), err)
	}
	if len(d.marks) == 0 {
		return string(plain), nil
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(plain, &whole); err != nil {
		return "", fmt.Errorf("dashboard %s: %w", d.UID(), err)
	}
	marks, err := json.Marshal(map[string]any{"list": d.marks})
	if err != nil {
		return "", fmt.Errorf("dashboard %s: %w", d.UID(), err)
	}
	whole["annotations"] = marks
	worded, err := json.Marshal(whole)
	if err != nil {
		return "", fmt.Errorf("dashboard %s: %w", d.UID(), err)
	}
	return string(worded), nil
}

// Query is what one panel, variable or annotation asks of Prometheus, with variables still in it.
type Query struct {
	Dashboard string // its uid
	Panel     string // its title
	Expr      string
	// MayBeEmpty is said of what has no data on a healthy platform, such as alerts that fire. The panel has words for it.
	MayBeEmpty bool
	Instant    bool
}

// Queries is everything that the dashboards ask.
func Queries(dashboards []Dashboard) []Query {
	var all []Query
	for _, d := range dashboards {
		for _, p := range d.Panels() {
			for _, target := range p.Targets {
				asked, ours := target.(promql.Dataquery)
				if !ours {
					continue
				}
				all = append(all, Query{
					Dashboard: d.UID(), Panel: *p.Title, Expr: asked.Expr,
					MayBeEmpty: p.FieldConfig.Defaults.NoValue != nil, Instant: asked.Instant != nil && *asked.Instant,
				})
			}
		}
		for _, m := range d.marks {
			all = append(all, Query{Dashboard: d.UID(), Panel: m.Name, Expr: *m.Expr, MayBeEmpty: true})
		}
	}
	return all
}

// Panels is the dashboard's panels without the rows that hold them apart.
func (d Dashboard) Panels() []grafana.Panel {
	var panels []grafana.Panel
	for _, p := range d.Board.Panels {
		if p.Panel != nil {
			panels = append(panels, *p.Panel)
		}
	}
	return panels
}

// All is every dashboard: the platform first, then one for each service, then those of what they share.
func All(services []catalog.Service) ([]Dashboard, error) {
	plans := []plan{platform(services)}
	for _, service := range services {
		plans = append(plans, ofService(service))
	}
	plans = append(plans, stores(services), releases(services), cost())

	var all []Dashboard
	for _, p := range plans {
		built, err := p.build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", p.uid, err)
		}
		all = append(all, built)
	}
	return all, nil
}

// ServiceUID is the uid of a service's dashboard. Of names beyond 32 characters it has only the beginning, as Grafana takes
// no longer ones; they are found by the list of dashboards, not by the links in tables.
func ServiceUID(service string) string {
	uid := ofServices + service
	if len(uid) <= longestUID {
		return uid
	}
	return fmt.Sprintf("%s-%x", uid[:longestUID-9], sha256.Sum256([]byte(service)))[:longestUID]
}

// plan is a dashboard before its panels have places.
type plan struct {
	uid, title, about string
	since             string // the range that it opens with, such as now-1h
	variables         []cog.Builder[grafana.VariableModel]
	rows              []row
	marks             []mark
}

// row is panels beside each other under a heading.
type row struct {
	title  string
	height uint32 // in units of 30 pixels
	panels []panel
}

// build places the panels from left to right, and in a new line where there's no room left.
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
		for _, wanted := range r.panels {
			built, err := wanted.build()
			if err != nil {
				return Dashboard{}, err
			}
			height := cmp.Or(wanted.height, r.height)
			if x+wanted.width > columnsOfGrid {
				x, y, line = 0, y+line, 0
			}
			id++
			number := id
			built.Id = &number
			built.GridPos = &grafana.GridPos{X: x, Y: y, W: wanted.width, H: height}
			board.Panels = append(board.Panels, grafana.PanelOrRowPanel{Panel: &built})
			x, line = x+wanted.width, max(line, height)
		}
		y += line
	}
	return Dashboard{Board: board, marks: p.marks}, nil
}

// switches marks the moments at which a colour went live.
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

// choice is a variable with which people choose some of the names, at first all.
func choice(name, label string, names []string) cog.Builder[grafana.VariableModel] {
	list := strings.Join(names, ",")
	return grafana.NewCustomVariableBuilder(name).Label(label).Values(grafana.StringOrMap{String: &list}).
		Multi(true).IncludeAll(true).AllValue(".*").Current(everything())
}

// known is as choice, of the values that a label has.
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

// entry is a variable into which people write a number.
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
	var all []string
	for _, service := range services {
		all = append(all, service.Name)
	}
	return all
}

func sorted[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
