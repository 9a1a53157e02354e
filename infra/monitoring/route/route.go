// Package route generates Alertmanager's configuration.
package route

import (
	"fmt"
	"path"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// The files with the receivers' URLs and keys. They are in a Secret, since the configuration is in a ConfigMap.
const (
	SlackFile          = "slack-webhook-url"
	PagerDutyFile      = "pagerduty-routing-key"
	WebhookFile        = "webhook-url"
	DeadMansSwitchFile = "dead-mans-switch-url"
)

// Receivers are the configured receivers. Without any, Alertmanager only shows alerts: they go to the receiver "nobody".
type Receivers struct {
	Slack          bool // receives pages and tickets
	PagerDuty      bool // receives pages
	Webhook        bool // receives all alerts
	DeadMansSwitch bool // receives the watchdog every minute, and raises an alarm without it
}

// The names of the receivers.
const (
	pages          = "pages"
	tickets        = "tickets"
	webhook        = "webhook"
	deadMansSwitch = "dead-mans-switch"
	nobody         = "nobody"
)

const (
	watchdog = "Watchdog"

	// pageWait is how long a page waits for others of its group. It is sent within 10 s.
	pageWait = 5 * time.Second
	// ticketWait is longer, since an alert that inhibits a ticket may fire only at the next evaluation.
	ticketWait = time.Minute
	heartbeat  = time.Minute
)

// Config is the configuration of Alertmanager (prometheus.io/docs, "Alerting configuration"). The receivers' files are in folder.
func Config(stackName, folder string, receivers Receivers) ([]byte, error) {
	config := config{
		Route:   receivers.routes(),
		Inhibit: inhibitions(),
	}
	for _, receiver := range receivers.all(stackName, folder) {
		if receiver["name"] == nobody || len(receiver) > 1 {
			config.Receivers = append(config.Receivers, receiver)
		}
	}
	return yaml.Marshal(config)
}

// routes routes alerts by severity. Unknown severities count as tickets.
func (r Receivers) routes() route {
	page := route{
		Matchers: []string{matches("severity", string(catalog.Page))}, Receiver: nobody,
		Wait: seconds(pageWait), Interval: seconds(time.Minute), Repeat: seconds(time.Hour),
	}
	if r.PagerDuty || r.Slack {
		page.Receiver = pages
	}
	alive := route{
		Matchers: []string{matches("alertname", watchdog)}, Receiver: nobody,
		Wait: "0s", Interval: seconds(heartbeat), Repeat: seconds(heartbeat - 10*time.Second), // a repeat that is due only after the interval waits for the next one
	}
	if r.DeadMansSwitch {
		alive.Receiver = deadMansSwitch
	}
	root := route{
		Receiver: nobody, By: []string{"alertname", "job"},
		Wait: seconds(ticketWait), Interval: seconds(5 * time.Minute), Repeat: seconds(24 * time.Hour),
	}
	if r.Slack {
		root.Receiver = tickets
	}
	if r.Webhook { // in addition to the other receivers
		root.Routes = append(root.Routes, route{Receiver: webhook, Continue: true,
			Wait: seconds(pageWait), Interval: seconds(time.Minute), Repeat: seconds(4 * time.Hour)})
	}
	rest := route{Receiver: root.Receiver} // the webhook's route matches all alerts, so the root's receiver gets none
	root.Routes = append(root.Routes, alive, page, rest)
	return root
}

func (r Receivers) all(stackName, folder string) []receiver {
	page, ticket, plain, alive := receiver{"name": pages}, receiver{"name": tickets}, receiver{"name": webhook}, receiver{"name": deadMansSwitch}
	if r.PagerDuty {
		page["pagerduty_configs"] = []object{{
			"routing_key_file": path.Join(folder, PagerDutyFile), "send_resolved": true, "severity": "critical",
			"description": "[" + stackName + "] " + summaries, "client": "Alertmanager of " + stackName, "details": details,
		}}
	}
	if r.Slack {
		message := func(firing string) []object {
			return []object{{
				"api_url_file": path.Join(folder, SlackFile), "send_resolved": true, "title": "[" + stackName + "] " + title, "text": text,
				"color": `{{ if eq .Status "firing" }}` + firing + `{{ else }}good{{ end }}`,
			}}
		}
		page["slack_configs"], ticket["slack_configs"] = message("danger"), message("warning")
	}
	if r.Webhook {
		plain["webhook_configs"] = []object{{"url_file": path.Join(folder, WebhookFile), "send_resolved": true}}
	}
	if r.DeadMansSwitch {
		alive["webhook_configs"] = []object{{"url_file": path.Join(folder, DeadMansSwitchFile), "send_resolved": false}}
	}
	return []receiver{{"name": nobody}, page, ticket, plain, alive}
}

// The templates of notifications. A group is one alert of one job: its alerts differ in pod, node and the like.
const (
	summaries = `{{ range $i, $a := .Alerts }}{{ if $i }}; {{ end }}{{ .Annotations.summary }}{{ end }}`
	title     = `{{ .CommonLabels.severity }}{{ if eq .Status "resolved" }}, resolved{{ end }}: {{ .GroupLabels.alertname }} {{ .GroupLabels.job }}`
	since     = `{{ .StartsAt.UTC.Format "2006-01-02 15:04 MST" }}`
	text      = "{{ range .Alerts }}*{{ .Annotations.summary }}*, since " + since + "\n{{ .Annotations.description }}\n" +
		"{{ with .Annotations.release }}Live: {{ . }}\n{{ end }}<{{ .GeneratorURL }}|Graph>, <{{ .Annotations.dashboard_url }}|dashboards>, " +
		"<{{ .Annotations.runbook_url }}|runbook>, <{{ .Annotations.silence_url }}|silence>\n{{ end }}"
)

var details = map[string]string{
	"description": `{{ range .Alerts }}{{ .Annotations.description }} {{ end }}`,
	"since":       "{{ range .Alerts }}" + since + " {{ end }}",
	"live":        `{{ .CommonAnnotations.release }}`,
	"graph":       `{{ (index .Alerts 0).GeneratorURL }}`,
	"dashboards":  `{{ .CommonAnnotations.dashboard_url }}`,
	"runbook":     `{{ .CommonAnnotations.runbook_url }}`,
	"silence":     `{{ .CommonAnnotations.silence_url }}`,
}

type config struct {
	Route     route        `yaml:"route"`
	Inhibit   []inhibition `yaml:"inhibit_rules"`
	Receivers []receiver   `yaml:"receivers"`
}

type route struct {
	Receiver string   `yaml:"receiver"`
	Matchers []string `yaml:"matchers,omitempty"`
	Continue bool     `yaml:"continue,omitempty"`
	By       []string `yaml:"group_by,omitempty"`
	Wait     string   `yaml:"group_wait,omitempty"`
	Interval string   `yaml:"group_interval,omitempty"`
	Repeat   string   `yaml:"repeat_interval,omitempty"`
	Routes   []route  `yaml:"routes,omitempty"`
}

// object is a part of the configuration.
type object = map[string]any

// receiver is its name and the lists of its channels.
type receiver = object

func matches(label, value string) string { return fmt.Sprintf("%s=%q", label, value) }

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// inhibition mutes the target while the source fires with the same values of the labels Equal.
type inhibition struct {
	Source []string `yaml:"source_matchers"`
	Target []string `yaml:"target_matchers"`
	Equal  []string `yaml:"equal,omitempty"`
}

// inhibitions mute alerts that follow from another alert. Alerts that explain the cause, such as PodCrashLooping, aren't muted.
func inhibitions() []inhibition {
	return []inhibition{
		{Source: []string{matches("severity", string(catalog.Page))}, Target: []string{matches("severity", string(catalog.Ticket))},
			Equal: []string{"alertname", "job"}},
		follow("NodeNotReady", []string{"node"}, "PodCrashLooping", "PodOutOfMemory", "TargetDown",
			"NodePressure", "NodeMemoryLow", "NodeDiskFilling", "NodeDiskFull"),
		follow("ServiceDown", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "LiveColourDown", "ReplicasShort",
			"TargetDown", "TargetMissing", "BreakerOpen", "OutboxStuck", "StreamLag", "StreamStalled"),
		follow("LiveColourDown", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "BreakerOpen", "ReplicasShort"),
		follow("BreakerOpen", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn"),
		of(follow("ServiceDown", nil, "EdgeUnreachable", "EdgeFailing", "EdgeRefusing"), "severity", string(catalog.Page)),
		of(follow("LiveColourDown", nil, "EdgeUnreachable", "EdgeFailing", "EdgeRefusing"), "severity", string(catalog.Page)),
		follow("DnsDown", nil, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "EdgeUnreachable", "EdgeFailing", "BreakerOpen", "RevocationsOld",
			"PostgresDown", "RedisDown", "OutboxStuck", "StreamLag", "StreamStalled", "DnsErrors", "TargetDown"),
		follow("EdgeDown", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "EdgeUnreachable", "EdgeFailing", "EdgeTrafficGone", "ReplicasShort", "TargetDown", "TargetMissing"),
		follow("EdgeUnreachable", []string{"job"}, "EdgeTrafficGone"),
		follow("EdgeFailing", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "EdgeTrafficGone", "EdgeUnreachable"),
		follow("PostgresDown", nil, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "EdgeFailing", "BreakerOpen",
			"RevocationsOld", "OutboxStuck", "StreamLag", "StreamStalled", "WebhookFailing", "PostgresConnections", "PostgresTransactionOld", "PoolExhausted"),
		of(follow("RedisDown", nil, "OutboxStuck", "StreamLag", "StreamStalled", "StreamMemory", "StreamNotPersisting"), "job", network.Stream),
		follow("StreamNotPersisting", nil, "OutboxStuck"),
		follow("StreamLag", []string{"job", "consumer"}, "StreamStalled"),
		follow("VolumeFull", []string{"job", "persistentvolumeclaim"}, "VolumeFilling"),
		follow("NodeDiskFull", []string{"node", "device"}, "NodeDiskFilling"),
		follow("TargetMissing", []string{"job"}, "TargetDown"),
	}
}

// follow mutes the targets, of any severity, while the source fires.
func follow(source string, equal []string, targets ...string) inhibition {
	return inhibition{
		Source: []string{matches("alertname", source)},
		Target: []string{fmt.Sprintf("alertname=~%q", strings.Join(targets, "|"))},
		Equal:  equal,
	}
}

// of restricts the source by a label.
func of(i inhibition, label, value string) inhibition {
	i.Source = append(i.Source, matches(label, value))
	return i
}
