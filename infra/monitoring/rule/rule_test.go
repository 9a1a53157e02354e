package rule

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
)

// example is a situation, and the alerts of one kind that fire in it.
type example struct {
	alert    string
	severity catalog.Severity // ticket by default
	matchers string           // which alerts of that name it is about, such as burn="fast"; all of them by default
	about    string
	series   []string      // name{labels} values, as promtool writes them: 1+2x3 is 1 3 5 7
	step     time.Duration // between two values; 15 s by default
	judged   time.Duration // between two evaluations; step by default
	at       time.Duration
	fires    []string // the labels of each alert, beside alertname, severity and those of the rule itself; none: silent
}

// platform is the services of the examples, which are independent of the catalog.
func platform() []catalog.Service {
	page := catalog.Objectives{Availability: 0.999, Latency: 250 * time.Millisecond, LatencyShare: 0.99, Breach: catalog.Page}
	ticket := catalog.Objectives{Availability: 0.995, Latency: time.Second, LatencyShare: 0.99, Breach: catalog.Ticket}
	return []catalog.Service{
		{Name: "api-gateway", Public: true, Objectives: page, Calls: []string{"user-service", "order-service", "notification-service"}},
		{Name: "user-service", Objectives: page, Internal: []string{"/sessions/revoked"}},
		{Name: "order-service", Objectives: page, Stream: &catalog.Access{Commands: []string{"xtrim"}}},
		{Name: "notification-service", Objectives: ticket, Stream: &catalog.Access{Commands: []string{"xreadgroup"}}, Redrives: true},
	}
}

// options has an authority that expires twenty days after the start of the examples.
func options() Options {
	return Options{
		Standby:             30 * time.Minute,
		Runbooks:            "https://example.com/docs/runbooks",
		AuthorityExpires:    time.Unix(20*24*3600, 0),
		CertificateDuration: 90 * 24 * time.Hour,
		Memory:              1024,
		Replicated:          true,
		Backed:              true,
		Alertmanager:        "https://example.com", Dashboards: "https://example.com/d/platform",
	}
}

func TestPrometheusAcceptsTheRules(t *testing.T) {
	for name, services := range map[string][]catalog.Service{
		"the catalog's": catalog.Services(), "the examples'": platform(), "one that pages": platform()[:1], "one that doesn't": platform()[3:],
	} {
		file := writeRules(t, services)
		if out, err := promtool(t, "check", "rules", "--lint-fatal", file).CombinedOutput(); err != nil {
			t.Errorf("rules of %s services: %v\n%s", name, err, located(t, file, string(out)))
		}
	}
}

func TestAlerts(t *testing.T) {
	var files []string
	for _, group := range Groups(platform(), options()) {
		type file struct {
			alert    string
			interval time.Duration
		}
		byFile := map[file][]example{}
		for _, e := range examples() {
			if slices.ContainsFunc(group.Alerts, e.isAbout) {
				of := file{e.alert, e.interval()}
				byFile[of] = append(byFile[of], e)
			}
		}
		for of, examples := range byFile {
			content, err := yaml.Marshal(unitTests(t, group, of.alert, of.interval, examples))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), fmt.Sprintf("%s-%s-%s.yml", group.Name, of.alert, of.interval))
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	for half := range slices.Chunk(files, (len(files)+1)/2) { // promtool uses one core
		t.Run("", func(t *testing.T) {
			t.Parallel()
			if out, err := promtool(t, append([]string{"test", "rules"}, half...)...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, failures(string(out)))
			}
		})
	}
}

// Failures in other namespaces raise no alerts.
func TestRulesIgnoreOtherNamespaces(t *testing.T) {
	for _, group := range Groups(platform(), Options{}) {
		exprs := map[string]string{}
		for _, record := range group.Records {
			exprs[record.Name] = record.Expr
		}
		for _, alert := range group.Alerts {
			exprs[alert.Name+" "+string(alert.Severity)] = alert.Expr
		}
		for name, expr := range exprs {
			tree, err := parser.ParseExpr(expr)
			if err != nil {
				t.Fatal(err)
			}
			parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
				selector, is := node.(*parser.VectorSelector)
				ofObjects := is && (strings.HasPrefix(selector.Name, "kube_") && !strings.HasPrefix(selector.Name, "kube_node_"))
				// What is compared with such a series by its labels is as narrow.
				ofVolumes := is && selector.Name == "kubelet_volume_stats_available_bytes"
				if (ofObjects || ofVolumes) && !slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
					return m.Name == "namespace" && !m.Matches("somebody-elses") && !m.Matches("")
				}) {
					t.Errorf("%s: %s is of any namespace", name, selector)
				}
				return nil
			})
		}
	}
}

// The services' own tests compare the files with their metrics before the first request.
func TestServicesCountFromZeroWhatAlertsNeed(t *testing.T) {
	line := regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? 0$`)
	for _, service := range catalog.Services() {
		file := filepath.Join(repository, "apps", service.Name, "testdata", "counters")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		begins := line.FindAllStringSubmatch(string(content), -1)
		prefix := strings.TrimSuffix(RequestsOf(service).Total, "requests_total")
		for _, expr := range expressions(catalog.Services()) {
			for _, selector := range counters(t, expr, prefix) {
				if !slices.ContainsFunc(begins, func(series []string) bool { return series[1] == selector.Name && selects(selector, parse(series[2])) }) {
					t.Errorf("%s has no series of %s: add it, or let the service create it at its start", file, selector)
				}
			}
		}
	}
}

// expressions are those of all rules.
func expressions(services []catalog.Service) []string {
	var all []string
	for _, group := range Groups(services, options()) {
		for _, record := range group.Records {
			all = append(all, record.Expr)
		}
		for _, alert := range group.Alerts {
			all = append(all, alert.Expr)
		}
	}
	return all
}

// counters are the selectors of a service's counters in an expression.
func counters(t *testing.T, expr, prefix string) (found []*parser.VectorSelector) {
	t.Helper()
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		t.Fatal(err)
	}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if call, is := node.(*parser.Call); is && slices.Contains([]string{"rate", "irate", "increase", "changes"}, call.Func.Name) {
			if of, is := call.Args[0].(*parser.MatrixSelector); is && strings.HasPrefix(of.VectorSelector.(*parser.VectorSelector).Name, prefix) {
				found = append(found, of.VectorSelector.(*parser.VectorSelector))
			}
		}
		return nil
	})
	return found
}

// selects reports whether the selector has the series, apart from the labels that Prometheus adds.
func selects(selector *parser.VectorSelector, series map[string]string) bool {
	return !slices.ContainsFunc(selector.LabelMatchers, func(m *labels.Matcher) bool {
		return !slices.Contains([]string{"__name__", "job", "colour"}, m.Name) && !m.Matches(series[m.Name])
	})
}

// rulesOf writes a file with the alerts of one name and the rules that they need, since promtool evaluates complete files at each step. The
// groups' names are in the order of their dependencies.
func rulesOf(t *testing.T, group Group, name string) (path string, order []string) {
	t.Helper()
	groups := []Group{group}
	base := objectives(platform())
	base.Alerts = nil
	switch group.Name {
	case "outages":
		base.Records = slices.DeleteFunc(base.Records, func(r Record) bool { return r.Name != "job:objective:availability" })
		fallthrough
	case "objectives-long":
		groups = []Group{base, group}
	}
	texts := map[string]string{} // the expressions of each rule
	for _, group := range groups {
		for _, record := range group.Records {
			texts[record.Name] += record.Expr + "\n"
		}
		for _, alert := range group.Alerts {
			texts[alert.Name] += alert.Expr + "\n"
		}
	}
	needed := map[string]bool{}
	var need func(name string)
	need = func(name string) {
		needed[name] = true
		for other := range texts {
			if !needed[other] && strings.Contains(texts[name], other) {
				need(other)
			}
		}
	}
	need(name)
	var file ruleFile
	for _, group := range groups {
		group.Records = slices.DeleteFunc(slices.Clone(group.Records), func(r Record) bool { return !needed[r.Name] })
		group.Alerts = slices.DeleteFunc(slices.Clone(group.Alerts), func(a Alert) bool { return !needed[a.Name] })
		if len(group.Records)+len(group.Alerts) > 0 {
			file.Groups = append(file.Groups, group.file(options()))
			order = append(order, group.Name)
		}
	}
	content, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, order
}

// failures removes promtool's messages on valid files.
func failures(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "  SUCCESS") && !strings.HasPrefix(line, "  FAILED") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestAlertsHaveExamples(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, e := range examples() {
		found := false
		for _, alert := range alerts(platform()) {
			if !e.isAbout(alert) {
				continue
			}
			found = true
			if len(e.fires) > 0 {
				fires[kind(alert)] = true
			} else {
				silent[kind(alert)] = true
			}
		}
		if !found {
			t.Errorf("%s: no alert is called %s, %s, %s", source(t, e.about), e.alert, e.level(), e.matchers)
		}
	}
	for _, alert := range alerts(platform()) {
		if !fires[kind(alert)] {
			t.Errorf("%s: %s: no example in which it fires: add one to examples()", source(t, alert.Name), kind(alert))
		}
		if !silent[kind(alert)] {
			t.Errorf("%s: %s: no example in which it is silent: add one to examples()", source(t, alert.Name), kind(alert))
		}
	}
}

// Fills in the annotations with the labels of the examples.
func TestAnnotations(t *testing.T) {
	for _, e := range examples() {
		for _, alert := range alerts(platform()) {
			if !e.isAbout(alert) {
				continue
			}
			for _, labels := range e.fires {
				given := parse(labels)
				for _, text := range []string{alert.Summary, alert.Description} {
					if alert.differs(given) {
						continue
					}
					if filled, err := fill(text, given); err != nil {
						t.Errorf("%s: %s: %v: want labels that the alert has: %s", source(t, alert.Name), kind(alert), err, labels)
					} else if alert.Name == "ServiceDown" && !strings.Contains(filled, given["job"]) {
						t.Errorf("%q doesn't say which service", filled)
					}
				}
			}
		}
	}
}

// The links have the alert and its job, and the last release is that of the job.
func TestAnnotationsHaveLinksAndTheLastRelease(t *testing.T) {
	folder := t.TempDir()
	group := Group{Name: "example", Alerts: []Alert{{Name: "ServiceDown", Severity: catalog.Page, Summary: "a", Description: "b",
		Expr: `label_replace(vector(1), "job", "user-service", "", "")`}}}
	for name, content := range map[string]any{
		"rules.yml": ruleFile{Groups: []groupFile{group.file(options())}},
		"test.yml": map[string]any{"rule_files": []string{"rules.yml"}, "tests": []any{map[string]any{
			"interval": "15s",
			"input_series": []testSeries{
				{`kube_service_annotations{namespace="apps", service="user-service", annotation_platform_example_live="green 0123abcd", annotation_platform_example_switched_at="2026-11-30T12:00:00Z"}`, "1x10"},
				{`kube_service_annotations{namespace="apps", service="order-service", annotation_platform_example_live="blue 4567abcd"}`, "1x10"},
			},
			"alert_rule_test": []any{map[string]any{"eval_time": "1m", "alertname": "ServiceDown", "exp_alerts": []any{map[string]any{
				"exp_labels": map[string]string{"severity": "page", "job": "user-service"},
				"exp_annotations": map[string]string{
					"summary": "a", "description": "b", "release": "green 0123abcd since 2026-11-30T12:00:00Z",
					"runbook_url": "https://example.com/docs/runbooks/ServiceDown.md", "dashboard_url": "https://example.com/d/platform",
					"silence_url": "https://example.com/#/silences/new?filter=%7Balertname%3D%22ServiceDown%22%2Cjob%3D%22user-service%22%7D",
				},
			}}}},
		}}},
	} {
		text, err := yaml.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := promtool(t, "test", "rules", filepath.Join(folder, "test.yml")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// An alert on a cause fires for longer than the alerts that it inhibits: than their windows, and than they keep firing. Otherwise they are sent after its end.
func TestCausesOutliveTheirConsequences(t *testing.T) {
	of := map[string]Alert{} // the page of each name, or its ticket
	for _, alert := range alerts(platform()) {
		if of[alert.Name].Severity != catalog.Page {
			of[alert.Name] = alert
		}
	}
	for cause, consequences := range map[string][]string{
		"ServiceDown": {"BreakerOpen", "LiveColourDown", "EdgeUnreachable", "EdgeFailing"}, "LiveColourDown": {"BreakerOpen", "EdgeUnreachable", "EdgeFailing"},
		"DnsDown": {"BreakerOpen", "EdgeUnreachable", "EdgeFailing", "PostgresDown", "RedisDown"}, "EdgeDown": {"EdgeUnreachable", "EdgeFailing"},
		"EdgeFailing": {"EdgeUnreachable"}, "PostgresDown": {"BreakerOpen", "EdgeFailing", "PoolExhausted"},
	} {
		for _, consequence := range consequences {
			after := of[consequence]
			if lasts := of[cause].KeepFiring + of[cause].window(t); lasts < after.KeepFiring+after.window(t) {
				t.Errorf("%s ends %s after an outage, and its consequence %s ends later", cause, lasts, consequence)
			}
		}
	}
}

// The test of the running platform makes an outage for each page, or says why it doesn't.
func TestPagesAreMadeOnTheRunningPlatform(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "test", "faults", "alerts_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range alerts(catalog.Services()) {
		if alert.Severity == catalog.Page && !regexp.MustCompile(`\b`+alert.Name+`\b`).Match(text) {
			t.Errorf("no outage pages as %s: add one to outages, or the reason why there is none", alert.Name)
		}
	}
}

// window is the longest window of the last values of counters and states.
func (a Alert) window(t *testing.T) (longest time.Duration) {
	t.Helper()
	tree, err := parser.ParseExpr(a.Expr)
	if err != nil {
		t.Fatal(err)
	}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if call, is := node.(*parser.Call); is && slices.Contains([]string{"irate", "increase", "max_over_time"}, call.Func.Name) {
			longest = max(longest, call.Args[0].(*parser.MatrixSelector).Range)
		}
		return nil
	})
	return longest
}

func TestAlertsHaveJobAndSeverity(t *testing.T) {
	for _, alert := range alerts(platform()) {
		if !regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(alert.Name) {
			t.Errorf("%q is no name for a file", alert.Name)
		}
		if !slices.Contains([]catalog.Severity{catalog.Page, catalog.Ticket, None}, alert.Severity) {
			t.Errorf("%s has severity %q", alert.Name, alert.Severity)
		}
		if alert.Summary == "" || alert.Description == "" {
			t.Errorf("%s has no summary or description", alert.Name)
		}
	}
	for _, e := range examples() {
		for _, labels := range e.fires {
			if parse(labels)["job"] == "" {
				t.Errorf("%s: %s fires without a job, by which Alertmanager groups", source(t, e.about), e.alert)
			}
		}
	}
}

func TestServicesWithTicketsNeverPage(t *testing.T) {
	for _, e := range examples() {
		for _, labels := range e.fires {
			if e.level() == catalog.Page && parse(labels)["job"] == "notification-service" {
				t.Errorf("%s: %s", source(t, e.about), labels)
			}
		}
	}
	for _, group := range Groups(platform()[3:], Options{}) {
		for _, alert := range group.Alerts {
			if alert.Severity == catalog.Page && slices.Contains([]string{"objectives", "objectives-long", "gateway"}, group.Name) {
				t.Errorf("%s pages where there's but a service that doesn't", alert.Name)
			}
		}
	}
}

func TestNewServicesHaveAlerts(t *testing.T) {
	added := catalog.Service{Name: "greeter-service", Objectives: platform()[1].Objectives}
	before, after := render(t, platform()), render(t, append(platform(), added))
	for _, want := range []string{
		`greeter_service_requests_total{job="greeter-service"}`, `greeter_service_errors_total{job="greeter-service", colour!=""}`,
		`greeter_service_request_duration_seconds_bucket{job="greeter-service", le="0.25"}`,
		`job=~"api-gateway|user-service|order-service|greeter-service"`, `absent(up{job="greeter-service"})`,
	} {
		if strings.Contains(before, want) || !strings.Contains(after, want) {
			t.Errorf("%s: want it with the service and not without", want)
		}
	}
}

func TestRunbookURLs(t *testing.T) {
	for base, want := range map[string]string{
		"":                              "docs/runbooks/ServiceDown.md",
		"https://example.com/a":         "https://example.com/a/ServiceDown.md",
		"https://example.com/runbooks/": "https://example.com/runbooks/ServiceDown.md",
	} {
		if got := runbook(base, "ServiceDown"); got != want {
			t.Errorf("below %q: %s, want %s", base, got, want)
		}
	}
}

// every, interval, level and isAbout are the defaults of examples.
func (e example) every() time.Duration {
	if e.step == 0 {
		return 15 * time.Second
	}
	return e.step
}

func (e example) interval() time.Duration { return max(e.every(), e.judged) }

func (e example) level() catalog.Severity {
	if e.severity == "" {
		return catalog.Ticket
	}
	return e.severity
}

func (e example) isAbout(alert Alert) bool {
	return alert.Name == e.alert && alert.Severity == e.level() && !alert.differs(parse(e.matchers))
}

// differs reports whether the rule sets another value of one of these labels.
func (a Alert) differs(labels map[string]string) bool {
	for name, value := range a.Labels {
		if given, there := labels[name]; there && given != value {
			return true
		}
	}
	return false
}

// kind distinguishes alerts with the same name that need separate examples.
func kind(alert Alert) string {
	name := alert.Name + " " + string(alert.Severity)
	for _, label := range slices.Sorted(maps.Keys(alert.Labels)) {
		if label != "job" {
			name += " " + alert.Labels[label]
		}
	}
	return name
}

func alerts(services []catalog.Service) []Alert {
	var all []Alert
	for _, group := range Groups(services, options()) {
		all = append(all, group.Alerts...)
	}
	return all
}

type testFile struct {
	RuleFiles []string   `yaml:"rule_files"`
	Interval  string     `yaml:"evaluation_interval"`
	Order     []string   `yaml:"group_eval_order"` // promtool takes groups as they come otherwise, and then one lags behind
	Tests     []unitTest `yaml:"tests"`
}

type unitTest struct {
	Name     string       `yaml:"name"`
	Interval string       `yaml:"interval"`
	Series   []testSeries `yaml:"input_series"`
	Queries  []query      `yaml:"promql_expr_test"`
}

type testSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type query struct {
	Expr    string   `yaml:"expr"`
	At      string   `yaml:"eval_time"`
	Samples []sample `yaml:"exp_samples,omitempty"`
}

type sample struct {
	Labels string  `yaml:"labels"`
	Value  float64 `yaml:"value"`
}

// unitTests is the examples in promtool's format. It queries the series ALERTS.
func unitTests(t *testing.T, group Group, alert string, interval time.Duration, examples []example) testFile {
	rules, order := rulesOf(t, group, alert)
	file := testFile{RuleFiles: []string{rules}, Order: order, Interval: interval.String()}
	for _, e := range examples {
		test := unitTest{Name: fmt.Sprintf("%s: %s: %s", source(t, e.about), e.alert, e.about), Interval: e.every().String()}
		for _, line := range e.series {
			at := strings.LastIndex(line, "} ") + 1
			test.Series = append(test.Series, testSeries{line[:at], line[at+1:]})
		}
		matchers := fmt.Sprintf(`alertname="%s", severity="%s", alertstate="firing"`, e.alert, e.level())
		ask := query{Expr: fmt.Sprintf("ALERTS{%s, %s}", matchers, e.matchers), At: e.at.String()}
		for _, labels := range e.fires {
			ask.Samples = append(ask.Samples, sample{fmt.Sprintf("ALERTS{%s, %s}", matchers, labels), 1})
		}
		test.Queries = []query{ask}
		file.Tests = append(file.Tests, test)
	}
	return file
}

var label = regexp.MustCompile(`(\w+)="([^"]*)"`)

func parse(labels string) map[string]string {
	parsed := map[string]string{}
	for _, match := range label.FindAllStringSubmatch(labels, -1) {
		parsed[match[1]] = match[2]
	}
	return parsed
}

// fill expands an annotation as Prometheus does, and fails on missing labels.
func fill(text string, labels map[string]string) (string, error) {
	plain := func(value float64) string { return fmt.Sprint(value) }
	parsed, err := template.New("").Option("missingkey=error").
		Funcs(template.FuncMap{"humanize": plain, "humanizePercentage": plain, "humanizeDuration": plain}).
		Parse("{{ $labels := .Labels }}{{ $value := .Value }}" + text)
	if err != nil {
		return "", err
	}
	var filled bytes.Buffer
	err = parsed.Execute(&filled, struct {
		Labels map[string]string
		Value  float64
	}{labels, 1})
	return filled.String(), err
}

func render(t *testing.T, services []catalog.Service) string {
	t.Helper()
	text, err := YAML(services, options())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func writeRules(t *testing.T, services []catalog.Service) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(render(t, services)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func promtool(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool isn't on PATH: the rules are not checked; `make unit` installs it")
	}
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Env = append(os.Environ(), "GOGC=400") // it ends soon
	return command
}

// ruleAt matches the position of an invalid rule: file:line:column, or the group's name and the number of its rule.
var ruleAt = regexp.MustCompile(`(?m)rules\.yml: (\d+):`)

// located adds the lines of the Go source to promtool's messages.
func located(t *testing.T, rules, output string) string {
	content, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for _, match := range ruleAt.FindAllStringSubmatch(output, -1) {
		line, _ := strconv.Atoi(match[1])
		for line = min(line, len(lines)); line > 0; line-- {
			_, name, found := strings.Cut(lines[line-1], "alert: ")
			if !found {
				_, name, found = strings.Cut(lines[line-1], "record: ")
			}
			if found {
				output = fmt.Sprintf("%s: %s:\n%s", source(t, name), name, output)
				break
			}
		}
	}
	return output
}

// source is the file and line of this package with a text.
func source(t *testing.T, text string) string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if before, _, found := strings.Cut(string(content), `"`+text+`"`); found {
			return fmt.Sprintf("%s:%d", file, strings.Count(before, "\n")+1)
		}
	}
	return "rule.go"
}

// The routes of a service are no regular expressions.
func TestInternalRoutesAreMatchedLiterally(t *testing.T) {
	matchers := OfUsers(catalog.Service{Name: "greeter", Internal: []string{"/users/{id}/keys", "/a.b"}})
	selector, err := parser.ParseExpr(`requests_total{job="greeter"` + matchers + `}`)
	if err != nil {
		t.Fatal(err)
	}
	for route, counted := range map[string]bool{"/users/{id}/keys": false, "/a.b": false, "/axb": true, "/users/{id}/keys/1": true, "/greet": true} {
		for _, matcher := range selector.(*parser.VectorSelector).LabelMatchers {
			if matcher.Name == "endpoint" && matcher.Matches(route) != counted {
				t.Errorf("%s: requests are counted: %t, want %t", route, !counted, counted)
			}
		}
	}
}
