// Package route says who is told of which alert, how soon and how often: Alertmanager's configuration as a value.
package route

import (
	"bytes"
	"fmt"
	"path"
	"time"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
)

// The files that hold where to send, and nothing else. They are mounted from a Secret: no secret stands in the
// configuration, which is a ConfigMap that more people read.
const (
	SlackFile          = "slack-webhook-url"
	PagerDutyFile      = "pagerduty-routing-key"
	WebhookFile        = "webhook-url"
	DeadMansSwitchFile = "dead-mans-switch-url"
)

// Receivers is which of the files there are. With none, alerts are seen in Alertmanager and nobody is told: its receiver
// is called nobody.
type Receivers struct {
	Slack          bool // told of pages and tickets
	PagerDuty      bool // told of pages
	Webhook        bool // told of everything
	DeadMansSwitch bool // told every minute that all is well; raises the alarm itself when it hears nothing
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

	// pageWait is how long a page waits for others of its kind. It leaves within 10 s.
	pageWait = 5 * time.Second
	// ticketWait is longer: what silences a ticket may need another evaluation to fire.
	ticketWait = time.Minute
	heartbeat  = time.Minute
)

// Config is the configuration of Alertmanager (prometheus.io/docs, "Alerting configuration"). The receivers' files are in
// folder.
func Config(stackName, folder string, receivers Receivers) ([]byte, error) {
	config := config{
		Route:   receivers.routes(),
		Inhibit: inhibitions(),
	}
	for _, receiver := range receivers.all(stackName, folder) {
		if receiver.Name == nobody || receiver.anyone() {
			config.Receivers = append(config.Receivers, receiver)
		}
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(config); err != nil {
		return nil, fmt.Errorf("alertmanager's configuration: %w", err)
	}
	return text.Bytes(), nil
}

// routes is by severity. What has none that is known is no less than a ticket.
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
		Wait: "0s", Interval: seconds(heartbeat), Repeat: seconds(heartbeat),
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
	if r.Webhook { // as soon as anybody, and then to the next
		root.Routes = append(root.Routes, route{Receiver: webhook, Continue: true,
			Wait: seconds(pageWait), Interval: seconds(time.Minute), Repeat: seconds(4 * time.Hour)})
	}
	rest := route{Receiver: root.Receiver} // the root receives only what no child does, and the webhook's is one
	root.Routes = append(root.Routes, alive, page, rest)
	return root
}

func (r Receivers) all(stackName, folder string) []receiver {
	page, ticket := receiver{Name: pages}, receiver{Name: tickets}
	if r.PagerDuty {
		page.PagerDuty = []pagerDuty{{
			KeyFile: path.Join(folder, PagerDutyFile), Resolved: true, Severity: "critical",
			Description: "[" + stackName + "] " + summaries, Client: "Alertmanager of " + stackName, Details: details,
		}}
	}
	if r.Slack {
		message := slack{URLFile: path.Join(folder, SlackFile), Resolved: true, Title: "[" + stackName + "] " + title, Text: text}
		page.Slack, ticket.Slack = []slack{message.coloured("danger")}, []slack{message.coloured("warning")}
	}
	plain, alive := receiver{Name: webhook}, receiver{Name: deadMansSwitch}
	if r.Webhook {
		plain.Webhook = []hook{{URLFile: path.Join(folder, WebhookFile), Resolved: true}}
	}
	if r.DeadMansSwitch {
		alive.Webhook = []hook{{URLFile: path.Join(folder, DeadMansSwitchFile)}}
	}
	return []receiver{{Name: nobody}, page, ticket, plain, alive}
}

// What is told. A group is one alert of one job: its alerts differ in the pod, the node and the like.
const (
	summaries = `{{ range $i, $a := .Alerts }}{{ if $i }}; {{ end }}{{ .Annotations.summary }}{{ end }}`
	title     = `{{ .CommonLabels.severity }}{{ if eq .Status "resolved" }}, resolved{{ end }}: {{ .GroupLabels.alertname }} {{ .GroupLabels.job }}`
	text      = "{{ range .Alerts }}*{{ .Annotations.summary }}*\n{{ .Annotations.description }}\n<{{ .Annotations.runbook_url }}|Runbook>\n{{ end }}"
)

var details = map[string]string{
	"description": `{{ range .Alerts }}{{ .Annotations.description }} {{ end }}`,
	"runbook":     `{{ .CommonAnnotations.runbook_url }}`,
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

type receiver struct {
	Name      string      `yaml:"name"`
	PagerDuty []pagerDuty `yaml:"pagerduty_configs,omitempty"`
	Slack     []slack     `yaml:"slack_configs,omitempty"`
	Webhook   []hook      `yaml:"webhook_configs,omitempty"`
}

func (r receiver) anyone() bool { return len(r.PagerDuty)+len(r.Slack)+len(r.Webhook) > 0 }

type pagerDuty struct {
	KeyFile     string            `yaml:"routing_key_file"`
	Resolved    bool              `yaml:"send_resolved"`
	Severity    string            `yaml:"severity"`
	Description string            `yaml:"description"`
	Client      string            `yaml:"client"`
	Details     map[string]string `yaml:"details"`
}

type slack struct {
	URLFile  string `yaml:"api_url_file"`
	Resolved bool   `yaml:"send_resolved"`
	Color    string `yaml:"color"`
	Title    string `yaml:"title"`
	Text     string `yaml:"text"`
}

func (s slack) coloured(firing string) slack {
	s.Color = `{{ if eq .Status "firing" }}` + firing + `{{ else }}good{{ end }}`
	return s
}

type hook struct {
	URLFile  string `yaml:"url_file"`
	Resolved bool   `yaml:"send_resolved"`
}

func matches(label, value string) string { return fmt.Sprintf("%s=%q", label, value) }

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
