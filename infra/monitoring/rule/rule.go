// Package rule generates Prometheus' recording rules and alerts from the catalog.
package rule

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/configfile"
	"platform.example/infra/quantity"
	"platform.example/infra/release"
)

// None is the severity of the watchdog, which always fires. Its absence is the alarm.
const None catalog.Severity = "none"

// Group is rules that are evaluated in their order.
type Group struct {
	Name     string
	Interval time.Duration // 0 for Prometheus' default
	Records  []Record      // evaluated before the alerts
	Alerts   []Alert
}

// Record is a recording rule.
type Record struct {
	Name   string
	Expr   string
	Labels map[string]string
}

// Alert is an alerting rule. Its runbook is docs/runbooks/<Name>.md.
type Alert struct {
	Name string
	Expr string // PromQL; each resulting series is an alert and has the label job, by which alerts are grouped
	// For is how long the condition must hold. KeepFiring is how long the alert fires after the condition ends.
	For         time.Duration
	KeepFiring  time.Duration `yaml:"keepFiring"`
	Severity    catalog.Severity
	Labels      map[string]string
	Summary     string // one line
	Description string // the measurement and its consequence
}

// Options are the settings of a stack.
type Options struct {
	// Runbooks is the URL of the folder docs/runbooks. Empty: alerts name the file in the repository.
	Runbooks string
	// AuthorityExpires is the expiry of the stack's own authority, or zero if it isn't known.
	AuthorityExpires time.Time
	// CertificateDuration is the validity of its certificates. Each is renewed in the last third.
	CertificateDuration time.Duration
	// Standby is how long the previous version is kept as the standby after a release.
	Standby time.Duration
	// Memory is Prometheus' memory limit.
	Memory             quantity.Bytes
	Replicated, Backed bool // the stream has replicas, and Postgres has backups
	// Alertmanager and Dashboards are the URLs that alerts link to.
	Alertmanager, Dashboards string
}

// seriesPerMiB is three quarters of the series for which Prometheus has memory: a million need about 4 GiB.
const seriesPerMiB = 180

//go:embed alerts.yml
var alertsFile string

// Groups returns all rules.
func Groups(services []catalog.Service, options Options) []Group {
	ours := inside()
	alerts := configfile.Decode[map[string][]Alert](alertsFile, map[string]any{
		"ours": ours, "probe": Probe, "series": int(options.Memory) * seriesPerMiB, "replicated": options.Replicated, "backed": options.Backed,
	})
	return []Group{
		objectives(services),
		longObjectives(),
		outages(services),
		releases(ours, options.Standby),
		workloads(ours),
		{Name: "nodes", Alerts: alerts["nodes"]},
		storage(ours),
		certificates(ours, options.AuthorityExpires, options.CertificateDuration),
		{Name: "stores", Interval: outageInterval, Alerts: alerts["stores"]},
		events(services, alerts["events"]),
		gateway(services, alerts["gateway"]),
		targets(services, alerts["targets"]),
		{Name: "prometheus", Alerts: alerts["prometheus"]},
		{Name: "control-plane", Alerts: alerts["control-plane"]},
	}
}

// YAML returns all rules in Prometheus' format (prometheus.io/docs, "Defining recording rules").
func YAML(services []catalog.Service, options Options) (string, error) {
	var file ruleFile
	for _, group := range Groups(services, options) {
		file.Groups = append(file.Groups, group.file(options))
	}
	text, err := yaml.Marshal(file)
	return string(text), err
}

type ruleFile struct {
	Groups []groupFile `yaml:"groups"`
}

type groupFile struct {
	Name     string     `yaml:"name"`
	Interval string     `yaml:"interval,omitempty"`
	Rules    []ruleNode `yaml:"rules"`
}

type ruleNode struct {
	Record        string            `yaml:"record,omitempty"`
	Alert         string            `yaml:"alert,omitempty"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for,omitempty"`
	KeepFiringFor string            `yaml:"keep_firing_for,omitempty"`
	Labels        map[string]string `yaml:"labels,omitempty"`
	Annotations   map[string]string `yaml:"annotations,omitempty"`
}

func (g Group) file(options Options) groupFile {
	file := groupFile{Name: g.Name, Interval: seconds(g.Interval)}
	for _, record := range g.Records {
		file.Rules = append(file.Rules, ruleNode{Record: record.Name, Expr: record.Expr, Labels: record.Labels})
	}
	for _, alert := range g.Alerts {
		labels := map[string]string{"severity": string(alert.Severity)}
		maps.Copy(labels, alert.Labels)
		file.Rules = append(file.Rules, ruleNode{
			Alert: alert.Name, Expr: alert.Expr, For: seconds(alert.For), KeepFiringFor: seconds(alert.KeepFiring),
			Labels: labels,
			Annotations: map[string]string{
				"summary": alert.Summary, "description": alert.Description, "release": lastRelease,
				"runbook_url": runbook(options.Runbooks, alert.Name), "dashboard_url": options.Dashboards,
				"silence_url": fmt.Sprintf("%s/#/silences/new?filter=%%7Balertname%%3D%%22%s%%22%%2Cjob%%3D%%22{{ $labels.job }}%%22%%7D", options.Alertmanager, alert.Name),
			},
		})
	}
	return file
}

// lastRelease is the live colour and version of the job, and when it went live. It is empty for a job that isn't a service.
var lastRelease = fmt.Sprintf(`{{ with printf "kube_service_annotations{namespace='%[1]s', service='%%s', %[2]s!=''}" $labels.job | query }}{{ with first . }}`+
	`{{ label "%[2]s" . }} since {{ label "%[3]s" . }}{{ end }}{{ end }}`, apps, annotation(release.LiveAnnotation), annotation(release.SwitchedAnnotation))

// annotation is the label of kube-state-metrics for an annotation.
func annotation(name string) string {
	return "annotation_" + strings.NewReplacer(".", "_", "/", "_", "-", "_").Replace(name)
}

// seconds formats a duration for Prometheus. Zero is an empty text.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// runbookFolder is the folder of the runbooks in the repository.
const runbookFolder = "docs/runbooks"

// runbook is the URL of an alert's runbook, or its path in the repository without a base.
func runbook(base, alert string) string {
	return strings.TrimSuffix(cmp.Or(base, runbookFolder), "/") + "/" + alert + ".md"
}
