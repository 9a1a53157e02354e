package dashboard_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/monitoring/rule"
)

func all(t *testing.T, services []catalog.Service) []dashboard.Dashboard {
	t.Helper()
	return dashboard.All(services)
}

// variables are example values of variables.
var variables = strings.NewReplacer(
	"$__rate_interval", "1m", "$__range", "1h", "$colour", "blue|green", "$service", ".*", "$database", "users|orders",
	"$core", "20", "$gib", "3",
)

func parsed(t *testing.T, expr string) parser.Expr {
	t.Helper()
	tree, err := parser.ParseExpr(variables.Replace(expr))
	if err != nil {
		t.Fatalf("%v\nin %s", err, expr)
	}
	return tree
}

// selectors returns the selectors of a query.
func selectors(tree parser.Expr) []*parser.VectorSelector {
	var found []*parser.VectorSelector
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, is := node.(*parser.VectorSelector); is {
			found = append(found, selector)
		}
		return nil
	})
	return found
}

func TestPanelsHaveDescriptions(t *testing.T) {
	for _, d := range all(t, catalog.Services()) {
		if d.Board.Description == nil || *d.Board.Description == "" {
			t.Errorf("%s has no description", d.UID())
		}
		for _, p := range d.Panels() {
			if p.Title == nil || *p.Title == "" {
				t.Errorf("%s: panel %d has no title", d.UID(), *p.Id)
				continue
			}
			in := d.UID() + ": " + *p.Title
			if p.Description == nil || *p.Description == "" {
				t.Errorf("%s has no description", in)
			}
			if p.FieldConfig.Defaults.Unit == nil || *p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s has no unit", in)
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s has no query", in)
			}
			if p.Datasource == nil || *p.Datasource.Uid != dashboard.Prometheus {
				t.Errorf("%s has another data source than %s", in, dashboard.Prometheus)
			}
			if p.FieldConfig.Defaults.Thresholds == nil {
				t.Errorf("%s has no thresholds", in)
			}
		}
	}
}

func TestQueriesParseAndLegendsDiffer(t *testing.T) {
	for _, d := range all(t, catalog.Services()) {
		for _, p := range d.Panels() {
			legends := map[string]bool{}
			for _, q := range targets(t, p) {
				tree := parsed(t, q.Expr)
				if left := regexp.MustCompile(`\$[a-z_]+`).FindString(variables.Replace(q.Expr)); left != "" {
					t.Errorf("%s: %s: unknown variable %s", d.UID(), *p.Title, left)
				}
				if p.Type == "table" {
					continue
				}
				if q.Legend == "" || legends[q.Legend] && !strings.Contains(q.Legend, "{{") {
					t.Errorf("%s: %s: the legend %q is empty or a duplicate", d.UID(), *p.Title, q.Legend)
				}
				legends[q.Legend] = true
				for _, name := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(q.Legend, -1) {
					if kept, known := labelsOf(tree); known && !slices.Contains(kept, name[1]) {
						t.Errorf("%s: %s: the legend wants label %q, the query leaves %v", d.UID(), *p.Title, name[1], kept)
					}
				}
			}
		}
	}
}

// labelsOf returns the labels of an aggregation. Those of other queries are unknown.
func labelsOf(tree parser.Expr) (kept []string, known bool) {
	switch expr := tree.(type) {
	case *parser.ParenExpr:
		return labelsOf(expr.Expr)
	case *parser.AggregateExpr:
		if expr.Op == parser.TOPK || expr.Without {
			return labelsOf(expr.Expr)
		}
		return expr.Grouping, true
	}
	return nil, false
}

type target struct {
	Expr   string `json:"expr"`
	Legend string `json:"legendFormat"`
	Format string `json:"format"`
}

func targets(t *testing.T, p grafana.Panel) []target {
	t.Helper()
	var read []target
	for _, each := range p.Targets {
		text, err := json.Marshal(each)
		if err != nil {
			t.Fatal(err)
		}
		var one target
		if err := json.Unmarshal(text, &one); err != nil {
			t.Fatal(err)
		}
		read = append(read, one)
	}
	return read
}

func TestRecordedSeriesExist(t *testing.T) {
	var recorded []string
	for _, group := range rule.Groups(catalog.Services(), rule.Options{}) {
		for _, record := range group.Records {
			recorded = append(recorded, record.Name)
		}
	}
	for _, q := range dashboard.Queries(all(t, catalog.Services())) {
		for _, selector := range selectors(parsed(t, q.Expr)) {
			if strings.Contains(selector.Name, ":") && !slices.Contains(recorded, selector.Name) {
				t.Errorf("%s: %s uses %s, which no rule records", q.Dashboard, q.Panel, selector.Name)
			}
		}
	}
}

func TestPanelsDontOverlap(t *testing.T) {
	for _, d := range all(t, catalog.Services()) {
		taken := map[[2]uint32]string{}
		ids := map[uint32]bool{}
		place := func(title string, id uint32, at *grafana.GridPos) {
			if id == 0 || ids[id] {
				t.Errorf("%s: %s has no id of its own (%d)", d.UID(), title, id)
			}
			ids[id] = true
			if at.W == 0 || at.H == 0 || at.X+at.W > 24 {
				t.Errorf("%s: %s is %d by %d at %d: outside the grid", d.UID(), title, at.W, at.H, at.X)
			}
			for x := at.X; x < at.X+at.W; x++ {
				for y := at.Y; y < at.Y+at.H; y++ {
					if other, is := taken[[2]uint32{x, y}]; is {
						t.Errorf("%s: %s lies on %s", d.UID(), title, other)
						return
					}
					taken[[2]uint32{x, y}] = title
				}
			}
		}
		for _, p := range d.Board.Panels {
			if p.RowPanel != nil {
				place("row "+*p.RowPanel.Title, p.RowPanel.Id, p.RowPanel.GridPos)
			} else {
				place(*p.Panel.Title, *p.Panel.Id, p.Panel.GridPos)
			}
		}
	}
}

func TestUIDsAreStableAndUnique(t *testing.T) {
	services := append(catalog.Services(), catalog.Service{Name: strings.Repeat("a", 28)}) // the longest name that catalog.Check accepts
	seen := map[string]bool{}
	for _, d := range all(t, services) {
		if seen[d.UID()] || len(d.UID()) > 40 {
			t.Errorf("uid %q stands twice, or is longer than Grafana accepts", d.UID())
		}
		seen[d.UID()] = true
	}
	for _, uid := range []string{dashboard.Home, "service-user-service", "data-stores", "releases", "edge", "cluster", "monitoring", "cost"} {
		if !seen[uid] {
			t.Errorf("no dashboard is at /d/%s any more", uid)
		}
	}
}

func TestLinks(t *testing.T) {
	dashboards := all(t, catalog.Services())
	known := map[string]bool{"service-${__value.text}": true}
	for _, d := range dashboards {
		known[d.UID()] = true
	}
	for _, d := range dashboards {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`"/d/([^"]+)"`).FindAllStringSubmatch(text, -1) {
			if !known[link[1]] {
				t.Errorf("%s links to /d/%s, which is nothing", d.UID(), link[1])
			}
		}
	}
}

// Compares the rows of each service's dashboard with its value in the catalog.
func TestPanelsMatchTheCatalog(t *testing.T) {
	bare := catalog.Service{Name: "bare", Objectives: catalog.Services()[0].Objectives, Resources: catalog.Services()[0].Resources}
	for _, d := range all(t, append(catalog.Services(), bare)) {
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for metric, services := range map[string][]string{
			"gateway_breaker_state":               {"api-gateway"},
			"gateway_rate_limited_total":          {"api-gateway"},
			"user_service_cache_hits_total":       {"user-service"},
			"redis_command_errors_total":          {"api-gateway", "user-service", "order-service", "notification-service"},
			"postgres_pool_acquired_connections":  {"user-service", "order-service", "notification-service"},
			"order_service_outbox_unpublished":    {"order-service"},
			"notification_service_stream_lag":     {"notification-service"},
			"notification_service_dead_letters":   {"notification-service"},
			"notification_service_webhook":        {"notification-service"},
			"container_cpu_cfs_throttled_periods": {"api-gateway", "user-service", "order-service", "notification-service", "bare"},
		} {
			name, isService := strings.CutPrefix(d.UID(), "service-")
			if isService && strings.Contains(text, metric) != slices.Contains(services, name) {
				t.Errorf("%s shows %s: %t, want it only for %v", name, metric, strings.Contains(text, metric), services)
			}
		}
	}
}

// Tables are sorted by their first column, so that pages come before tickets. Grafana has its own order otherwise.
func TestMostSevereAlertsComeFirst(t *testing.T) {
	for _, d := range all(t, catalog.Services()) {
		for _, p := range d.Panels() {
			if *p.Title != "Alerts" || p.Type != "table" {
				continue
			}
			text, err := json.Marshal(p.Options)
			if err != nil || !strings.Contains(string(text), `"sortBy":[{"displayName":"Severity"`) {
				t.Errorf("%s: alerts are sorted by %s (%v)", d.UID(), text, err)
			}
			return
		}
	}
	t.Error("no dashboard lists the alerts")
}

// Addresses of exporters change with their pods.
func TestNodesHaveNames(t *testing.T) {
	for _, q := range dashboard.Queries(all(t, catalog.Services())) {
		for _, selector := range selectors(parsed(t, q.Expr)) {
			if strings.HasPrefix(selector.Name, "node_") && !strings.Contains(q.Expr, "by (node") {
				t.Errorf("%s: %s shows nodes by another name: %s", q.Dashboard, q.Panel, q.Expr)
			}
		}
	}
}

// Guards against metrics that a service no longer has.
func TestMetricsAreInTheServicesSources(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir("../../../apps", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		sources.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	source := sources.String()
	ours := regexp.MustCompile(`^(gateway|service|redis_command|redis_pool|postgres_pool|(user|order|notification)_service)_`)
	suffix := regexp.MustCompile(`_(bucket|count|sum)$`)
	checked := 0
	for _, q := range dashboard.Queries(all(t, catalog.Services())) {
		for _, selector := range selectors(parsed(t, q.Expr)) {
			name := suffix.ReplaceAllString(selector.Name, "")
			if !ours.MatchString(name) || strings.HasPrefix(name, "redis_commands") {
				continue
			}
			checked++
			// Some are put together from a prefix and the end.
			named := strings.Contains(source, `"`+name+`"`)
			for _, prefix := range []string{"gateway", "user_service", "user_service_", "user_service_cache_", "order_service", "order_service_", "notification_service", "notification_service_", "redis_pool_", "postgres_pool_"} {
				end, cut := strings.CutPrefix(name, prefix)
				named = named || cut && strings.Contains(source, `"`+end+`"`)
			}
			if !named {
				t.Errorf("%s: %s uses %s, which no service has", q.Dashboard, q.Panel, selector.Name)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d series of services were looked at", checked)
	}
}

// Several services have metrics with the same name.
func TestQueriesOfServicesSelectTheJob(t *testing.T) {
	for _, q := range dashboard.Queries(all(t, catalog.Services())) {
		name, isService := strings.CutPrefix(q.Dashboard, "service-")
		if !isService {
			continue
		}
		for _, selector := range selectors(parsed(t, q.Expr)) {
			whose := slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Name == "job" || m.Name == "label_app_kubernetes_io_name" || m.Name == "namespace" || m.Name == "horizontalpodautoscaler"
			})
			if !whose && !strings.HasPrefix(selector.Name, "process_max_fds") && !strings.HasPrefix(selector.Name, "kube_deployment_") {
				t.Errorf("%s: %s uses %s of all jobs", name, q.Panel, selector)
			}
		}
	}
}

// Parses each dashboard with the SDK's schema, which refuses unknown fields.
func TestJSONMatchesTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for _, d := range all(t, catalog.Services()) {
		text, err := json.Marshal(d.Board)
		if err != nil {
			t.Fatal(err)
		}
		var read grafana.Dashboard
		if err := read.UnmarshalJSONStrict(text); err != nil {
			t.Errorf("%s: %v", d.UID(), err)
			continue
		}
		if err := read.Validate(); err != nil {
			t.Errorf("%s: %v", d.UID(), err)
		}
		worded, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if len(worded) > 100<<10 {
			t.Errorf("%s has %d KiB: all of them must fit into one ConfigMap of 1 MiB", d.UID(), len(worded)>>10)
		}
	}
}

func TestAnnotationsHaveTexts(t *testing.T) {
	for _, d := range all(t, catalog.Services()) {
		if d.UID() != "releases" {
			continue
		}
		text, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"titleFormat":"{{job}}: {{colour}} went live"`, `"expr":"max by (job, colour) (service_live{job=~\"$service\"})`} {
			if !strings.Contains(text, want) {
				t.Errorf("the annotations of releases lack %s", want)
			}
		}
	}
}

// A backup is shown as bad from the age at which BackupOld fires.
func TestOldBackupsAreBad(t *testing.T) {
	var alert string
	for _, group := range rule.Groups(catalog.Services(), rule.Options{}) {
		for _, a := range group.Alerts {
			if a.Name == "BackupOld" {
				alert = a.Expr
			}
		}
	}
	const hours = 26
	if !strings.Contains(alert, fmt.Sprintf("> %d * 3600", hours)) {
		t.Fatalf("BackupOld fires at another age than %d hours: %s", hours, alert)
	}
	for _, d := range all(t, catalog.Services()) {
		for _, p := range d.Panels() {
			if *p.Title != "Age of the last backup" {
				continue
			}
			steps := p.FieldConfig.Defaults.Thresholds.Steps
			if last := steps[len(steps)-1]; *last.Value != hours*3600 || last.Color != "red" {
				t.Errorf("it is %s from %g s on", last.Color, *last.Value)
			}
			return
		}
	}
	t.Error("no dashboard shows the age of the last backup")
}
