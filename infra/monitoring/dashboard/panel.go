package dashboard

import (
	"cmp"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promql "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"

	"platform.example/infra/release"
)

// kind is the visualization of a panel.
type kind int

const (
	lines    kind = iota // values over time
	number               // the last value of each query
	bars                 // the last value of each series, as a bar between min and max
	grid                 // a table of the last values, a row for each set of labels
	timeline             // states over time, a row for each series
)

type panel struct {
	kind   kind // by default lines
	title  string
	about  string // description
	unit   string // Grafana's id, such as percentunit; by default none
	none   string // text for no data; empty if there must always be data
	width  uint32 // of 24
	height uint32 // in units of 30 pixels; 0 for the row's
	asked  []query

	min, max *float64 // lines always begin at 0
	limits   []limit
	states   []state  // texts for values
	columns  []column // of a table
	byColour bool     // lines have the release colour of their legend
	link     *grafana.DashboardLink
}

// query is PromQL and the legend of its series, in which {{label}} stands for a label's value.
type query struct{ expr, legend string }

// limit is a value from which another colour applies.
type limit struct {
	from   float64
	colour string
}

// state is the text for a value.
type state struct {
	value  int
	word   string
	colour string
}

// column is a column of a table: a label, or the value of a query.
type column struct {
	name   string // the label's, or Value for the only query, or Value #A, Value #B …
	title  string
	unit   string
	limits []limit
	states []state
	toLink string // a path, in which ${__value.text} stands for the cell's text
}

// The colours of limits and states.
const (
	good    = "green"
	careful = "orange"
	bad     = "red"
	plain   = "text"
)

// rising is for values that are bad when high: careful from look on, bad from act on.
func rising(look, act float64) []limit { return []limit{{look, careful}, {act, bad}} }

// falling is for values that are bad when low: bad below act, careful below look.
func falling(act, look float64) []limit {
	return []limit{{lowest, bad}, {act, careful}, {look, good}}
}

// lowest is below every value.
const lowest = -1e308

func ask(expr, legend string) []query { return []query{{expr, legend}} }

// source is the data source of all panels.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: new("prometheus"), Uid: new(Prometheus)}
}

// thresholds uses the base colour below all limits.
func thresholds(base string, limits []limit) grafana.ThresholdsConfig {
	steps := []grafana.Threshold{{Color: base}}
	for _, l := range limits {
		if l.from == lowest {
			steps[0].Color = l.colour
			continue
		}
		steps = append(steps, grafana.Threshold{Value: new(l.from), Color: l.colour})
	}
	return grafana.ThresholdsConfig{Mode: grafana.ThresholdsModeAbsolute, Steps: steps}
}

func (p panel) base() string {
	if len(p.limits) == 0 {
		return plain
	}
	return good
}

func mappings(states []state) []grafana.ValueMapping {
	if len(states) == 0 {
		return nil
	}
	words := grafana.ValueMap{Type: grafana.MappingTypeValueToText, Options: map[string]grafana.ValueMappingResult{}}
	for i, s := range states {
		words.Options[strconv.Itoa(s.value)] = grafana.ValueMappingResult{
			Text: new(s.word), Color: new(s.colour), Index: new(int32(i)),
		}
	}
	return []grafana.ValueMapping{{ValueMap: &words}}
}

// build returns Grafana's panel without its position.
func (p panel) build() grafana.Panel {
	built := *grafana.NewPanel()
	built.Title, built.Description, built.Datasource = &p.title, &p.about, new(source())
	built.FieldConfig = grafana.NewFieldConfigSource()
	fields := &built.FieldConfig.Defaults
	fields.Unit, fields.Min, fields.Max = new(cmp.Or(p.unit, "none")), p.min, p.max
	fields.Color = &grafana.FieldColor{Mode: grafana.FieldColorModeIdThresholds}
	fields.Mappings, fields.Thresholds = mappings(p.states), new(thresholds(p.base(), p.limits))
	if p.none != "" {
		fields.NoValue = &p.none
	}
	switch p.kind {
	case lines:
		p.draw(&built)
	case number:
		options := stat.NewOptions()
		options.ReduceOptions.Calcs = last
		if len(p.limits) == 0 {
			options.ColorMode = common.BigValueColorModeNone
		}
		built.Type, built.Options = "stat", options
	case bars:
		options := bargauge.NewOptions()
		options.DisplayMode, options.Orientation = common.BarGaugeDisplayModeBasic, common.VizOrientationHorizontal
		options.ReduceOptions.Calcs = last
		built.Type, built.Options = "bargauge", options
	case grid:
		p.tabulate(&built)
	case timeline:
		options, custom := statetimeline.NewOptions(), statetimeline.NewFieldConfig()
		options.RowHeight, custom.FillOpacity = 0.8, new(uint32(80))
		built.Type, built.Options, fields.Custom = "state-timeline", options, custom
	}
	for i, q := range p.asked {
		instant := p.kind == grid || p.kind == bars
		query := promql.Dataquery{Expr: q.expr, LegendFormat: &q.legend, Instant: &instant, Range: new(!instant)}
		query.RefId = new(string(rune('A' + i)))
		if p.kind == grid {
			query.Format = new(promql.PromQueryFormatTable)
		}
		built.Targets = append(built.Targets, query)
	}
	if p.byColour {
		for _, colour := range []release.Colour{release.Blue, release.Green} {
			fixed := grafana.FieldColor{Mode: grafana.FieldColorModeIdFixed, FixedColor: new(hue(colour))}
			override(&built, "byRegexp", "/"+string(colour)+"/", []grafana.DynamicConfigValue{{Id: "color", Value: fixed}})
		}
	}
	if p.link != nil {
		built.Links = []grafana.DashboardLink{*p.link}
	}
	return built
}

// last reduces a series to its last value.
var last = []string{"lastNotNull"}

// override sets properties of the fields that match.
func override(built *grafana.Panel, matcher, match string, properties []grafana.DynamicConfigValue) {
	built.FieldConfig.Overrides = append(built.FieldConfig.Overrides, grafana.DashboardFieldConfigSourceOverrides{
		Matcher: grafana.MatcherConfig{Id: matcher, Options: match}, Properties: properties,
	})
}

// draw sets the lines of values over time.
func (p panel) draw(built *grafana.Panel) {
	options, custom, fields := timeseries.NewOptions(), timeseries.NewFieldConfig(), &built.FieldConfig.Defaults
	options.Legend.ShowLegend, options.Legend.Calcs = true, last
	options.Tooltip.Mode, options.Tooltip.Sort = common.TooltipDisplayModeMulti, common.SortOrderDescending
	custom.LineWidth, custom.FillOpacity, custom.ShowPoints, custom.AxisSoftMin = new(1.5), new(5.0), new(common.VisibilityModeNever), new(0.0)
	if len(p.limits) > 0 {
		custom.ThresholdsStyle = &common.GraphThresholdsStyleConfig{Mode: common.GraphThresholdsStyleModeDashed}
	}
	fields.Min, fields.Color = new(0.0), &grafana.FieldColor{Mode: grafana.FieldColorModeIdPaletteClassicByName}
	built.Type, built.Options, fields.Custom = "timeseries", options, custom
}

// tabulate joins the queries by their labels, shows only the given columns, and sorts by the first of them.
func (p panel) tabulate(built *grafana.Panel) {
	names, order, shown := map[string]string{}, map[string]int{}, []string{}
	for i, c := range p.columns {
		names[c.name], order[c.name] = c.title, i
		shown = append(shown, c.name)
	}
	options := table.NewOptions()
	options.SortBy = []common.TableSortByFieldState{{DisplayName: p.columns[0].title}}
	options.Footer = &common.TableFooterOptions{Reducer: []string{"sum"}} // hidden, but required by the schema
	built.Type, built.Options = "table", options
	built.Transformations = []grafana.DataTransformerConfig{
		{Id: "merge", Options: struct{}{}},
		{Id: "filterFieldsByName", Options: map[string]any{"include": map[string]any{"names": shown}}},
		{Id: "organize", Options: map[string]any{"indexByName": order, "renameByName": names}},
	}
	for _, c := range p.columns {
		var properties []grafana.DynamicConfigValue
		set := func(id string, value any) {
			properties = append(properties, grafana.DynamicConfigValue{Id: id, Value: value})
		}
		if c.unit != "" {
			set("unit", c.unit)
		}
		if len(c.limits) > 0 {
			set("thresholds", thresholds(good, c.limits))
		}
		if len(c.states) > 0 {
			set("mappings", mappings(c.states))
		}
		if len(c.limits)+len(c.states) > 0 {
			set("custom.cellOptions", map[string]string{"type": "color-text"})
		}
		if c.toLink != "" {
			set("links", []map[string]string{{"title": "${__value.text}", "url": c.toLink}})
		}
		if len(properties) > 0 {
			override(built, "byName", c.title, properties)
		}
	}
}
