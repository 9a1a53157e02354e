// Package rule says what Prometheus computes of what it has gathered, and of what it raises alerts: recording rules and
// alerts as values, made from the catalog.
package rule

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
)

// None is the severity of an alert that asks for nothing: it fires always, and its silence is the alarm.
const None catalog.Severity = "none"

// Group is rules that are evaluated together, in their order.
type Group struct {
	Name     string
	Interval time.Duration // 0 for that of Prometheus
	Records  []Record      // come before the alerts
	Alerts   []Alert
}

// Record is a series that is computed at every evaluation.
type Record struct {
	Name   string
	Expr   string
	Labels map[string]string
}

// Alert is a condition that somebody is told of. Its runbook is docs/runbooks/<Name>.md.
type Alert struct {
	Name string
	Expr string // PromQL; what it yields are the alerts, each with a label job by which they are grouped
	// For is how long the condition must hold, KeepFiring how long the alert stays when it no longer does.
	For, KeepFiring time.Duration
	Severity        catalog.Severity
	Labels          map[string]string
	Summary         string // one line
	Description     string // what was measured and what it means
}

// Options is what a stack decides.
type Options struct {
	// Runbooks is the URL of the folder docs/runbooks. Empty: alerts name the file in the repository.
	Runbooks string
	// AuthorityExpires is when the stack's own authority expires; zero where it isn't known.
	AuthorityExpires time.Time
	// CertificateDuration is how long its certificates last. Each is renewed in the last third.
	CertificateDuration time.Duration
	// Standby is how long a former version stands by after a release.
	Standby time.Duration
}

// Groups is every rule.
func Groups(services []catalog.Service, options Options) []Group {
	ours := inside()
	return []Group{
		objectives(services),
		longObjectives(),
		outages(services),
		releases(ours, options.Standby),
		workloads(ours),
		nodes(),
		storage(ours),
		certificates(ours, options.AuthorityExpires, options.CertificateDuration),
		stores(),
		events(services),
		gateway(services),
		targets(services, ours),
		prometheus(),
	}
}

// YAML is every rule as Prometheus reads them (prometheus.io/docs, "Defining recording rules").
func YAML(services []catalog.Service, options Options) (string, error) {
	var file ruleFile
	for _, group := range Groups(services, options) {
		file.Groups = append(file.Groups, group.file(options.Runbooks))
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(file); err != nil {
		return "", fmt.Errorf("rules: %w", err)
	}
	return text.String(), nil
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

func (g Group) file(runbooks string) groupFile {
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
				"summary": alert.Summary, "description": alert.Description, "runbook_url": runbook(runbooks, alert.Name),
			},
		})
	}
	return file
}

// seconds is a duration as Prometheus reads it; nothing for none.
func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// runbookFolder is where the runbooks are in the repository.
const runbookFolder = "docs/runbooks"

// runbook is where an alert's runbook is read; below no base it is the path in the repository.
func runbook(base, alert string) string {
	return strings.TrimSuffix(cmp.Or(base, runbookFolder), "/") + "/" + alert + ".md"
}
