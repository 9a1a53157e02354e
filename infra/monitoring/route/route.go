// Package route generates Alertmanager's configuration.
package route

import (
	_ "embed"
	"path"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/configfile"
	"platform.example/infra/network"
)

// The files with the receivers' URLs and keys.
const (
	SlackFile          = "slack-webhook-url"
	PagerDutyFile      = "pagerduty-routing-key"
	WebhookFile        = "webhook-url"
	DeadMansSwitchFile = "dead-mans-switch-url"
)

// Receivers are the configured receivers. Without any, Alertmanager only shows alerts.
type Receivers struct {
	Slack          bool // receives pages and tickets
	PagerDuty      bool // receives pages
	Webhook        bool // receives all alerts
	DeadMansSwitch bool // receives the watchdog every minute, and raises an alarm without it
}

//go:embed alertmanager.yml
var file string

// Config is the configuration of Alertmanager. The receivers' files are in folder.
func Config(stackName, folder string, receivers Receivers) ([]byte, error) {
	return yaml.Marshal(fill(stackName, folder, receivers))
}

func fill(stackName, folder string, receivers Receivers) config {
	return configfile.Decode[config](file, map[string]any{
		"stack": stackName, "page": catalog.Page, "ticket": catalog.Ticket, "stream": network.Stream, "receivers": receivers,
		"slackFile": path.Join(folder, SlackFile), "pagerDutyFile": path.Join(folder, PagerDutyFile),
		"webhookFile": path.Join(folder, WebhookFile), "deadMansSwitchFile": path.Join(folder, DeadMansSwitchFile),
	})
}

type config struct {
	Route     route            `yaml:"route"`
	Inhibit   []inhibition     `yaml:"inhibit_rules"`
	Receivers []map[string]any `yaml:"receivers"`
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

// inhibition mutes the target while the source fires with the same values of the labels Equal.
type inhibition struct {
	Source []string `yaml:"source_matchers"`
	Target []string `yaml:"target_matchers"`
	Equal  []string `yaml:"equal,omitempty"`
}
