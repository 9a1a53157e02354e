package dashboard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promql "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
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
	states   []state           // texts for values
	columns  []column          // of a table
	hues     map[string]string // Grafana's colour names by a regular expression for the legend
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

func to(value float64) *float64 { return &value }

// source is the data source of all panels.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr(Prometheus)}
}

// thresholds uses the base colour below all limits.
func thresholds(base string, limits []limit) grafana.ThresholdsConfig {
	steps := []grafana.Threshold{{Color: base}}
	for _, l := range limits {
		if l.from == lowest {
			steps[0].Color = l.colour
			continue
		}
		steps = append(steps, grafana.Threshold{Value: to(l.from), Color: l.colour})
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
			Text: cog.ToPtr(s.word), Color: cog.ToPtr(s.colour), Index: cog.ToPtr(int32(i)),
		}
	}
	return []grafana.ValueMapping{{ValueMap: &words}}
}

// build returns Grafana's panel without its position.
func (p panel) build() (grafana.Panel, error) {
	var built grafana.Panel
	var err error
	switch p.kind {
	case lines:
		built, err = p.lines().Build()
	case number:
		built, err = stat.NewPanelBuilder().
			ColorMode(p.colorMode()).GraphMode(common.BigValueGraphModeArea).TextMode(common.BigValueTextModeAuto).
			ReduceOptions(last()).Build()
	case bars:
		built, err = bargauge.NewPanelBuilder().
			DisplayMode(common.BarGaugeDisplayModeBasic).Orientation(common.VizOrientationHorizontal).
			ReduceOptions(last()).ShowUnfilled(true).Build()
	case grid:
		built, err = p.table().Build()
	case timeline:
		built, err = statetimeline.NewPanelBuilder().
			MergeValues(true).ShowValue(common.VisibilityModeAuto).RowHeight(0.8).FillOpacity(80).
			Legend(common.NewVizLegendOptionsBuilder().ShowLegend(false).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
			Build()
	}
	if err != nil {
		return built, fmt.Errorf("panel %q: %w", p.title, err)
	}
	return p.common(built)
}

// common sets the fields of all kinds.
func (p panel) common(built grafana.Panel) (grafana.Panel, error) {
	built.Title, built.Description = &p.title, &p.about
	built.Datasource = cog.ToPtr(source())
	for i, q := range p.asked {
		target := promql.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).RefId(string(rune('A' + i)))
		switch p.kind {
		case grid:
			target = target.Instant().Format(promql.PromQueryFormatTable)
		case bars:
			target = target.Instant()
		default:
			target = target.Range()
		}
		query, err := target.Build()
		if err != nil {
			return built, fmt.Errorf("panel %q: query %d: %w", p.title, i, err)
		}
		built.Targets = append(built.Targets, query)
	}
	if built.FieldConfig == nil {
		built.FieldConfig = grafana.NewFieldConfigSource()
	}
	defaults := &built.FieldConfig.Defaults
	defaults.Unit, defaults.Min, defaults.Max = cog.ToPtr(cmp.Or(p.unit, "none")), p.min, p.max
	defaults.Mappings, defaults.Thresholds = mappings(p.states), cog.ToPtr(thresholds(p.base(), p.limits))
	if p.none != "" {
		defaults.NoValue = &p.none
	}
	if p.kind == lines {
		defaults.Min = to(0)
	} else {
		defaults.Color = &grafana.FieldColor{Mode: grafana.FieldColorModeIdThresholds}
	}
	for _, legend := range slices.Sorted(maps.Keys(p.hues)) {
		built.FieldConfig.Overrides = append(built.FieldConfig.Overrides, grafana.DashboardFieldConfigSourceOverrides{
			Matcher: grafana.MatcherConfig{Id: "byRegexp", Options: legend},
			Properties: []grafana.DynamicConfigValue{
				{Id: "color", Value: grafana.FieldColor{Mode: grafana.FieldColorModeIdFixed, FixedColor: cog.ToPtr(p.hues[legend])}},
			},
		})
	}
	if p.link != nil {
		built.Links = []grafana.DashboardLink{*p.link}
	}
	return built, nil
}

func (p panel) colorMode() common.BigValueColorMode {
	if len(p.limits) == 0 {
		return common.BigValueColorModeNone
	}
	return common.BigValueColorModeValue
}

func last() cog.Builder[common.ReduceDataOptions] {
	return common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})
}

func (p panel) lines() *timeseries.PanelBuilder {
	builder := timeseries.NewPanelBuilder().
		LineWidth(1.5).ShowPoints(common.VisibilityModeNever).AxisSoftMin(0).
		ColorScheme(grafana.NewFieldColorBuilder().Mode(grafana.FieldColorModeIdPaletteClassicByName)).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).Calcs([]string{"lastNotNull"})).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	if len(p.limits) > 0 {
		builder = builder.ThresholdsStyle(common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed))
	}
	return builder.FillOpacity(5)
}

// table joins its queries by their labels, shows only the given columns, and sorts by the first of them.
func (p panel) table() *table.PanelBuilder {
	names, order, shown := map[string]string{}, map[string]int{}, []string{}
	for i, c := range p.columns {
		names[c.name], order[c.name] = c.title, i
		shown = append(shown, c.name)
	}
	builder := table.NewPanelBuilder().ShowHeader(true).CellHeight(common.TableCellHeightSm).
		SortBy([]cog.Builder[common.TableSortByFieldState]{common.NewTableSortByFieldStateBuilder().DisplayName(p.columns[0].title)}).
		Footer(common.NewTableFooterOptionsBuilder().Reducer([]string{"sum"})). // hidden, but required by the schema
		WithTransformation(grafana.DataTransformerConfig{Id: "merge", Options: struct{}{}}).
		WithTransformation(grafana.DataTransformerConfig{Id: "filterFieldsByName", Options: map[string]any{
			"include": map[string]any{"names": shown},
		}}).
		WithTransformation(grafana.DataTransformerConfig{Id: "organize", Options: map[string]any{
			"indexByName": order, "renameByName": names,
		}})
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
			builder = builder.OverrideByName(c.title, properties)
		}
	}
	return builder
}
