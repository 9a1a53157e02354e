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

// Files are the files with the URL or the key of each receiver, by its secret: Slack, which receives pages and tickets, PagerDuty, which
// receives pages, the webhook, which receives all alerts, and the dead man's switch, which receives the watchdog every minute and raises an
// alarm without it.
var Files = map[string]string{
	catalog.SlackWebhookURL:     "slack-webhook-url",
	catalog.PagerDutyRoutingKey: "pagerduty-routing-key",
	catalog.AlertWebhookURL:     "webhook-url",
	catalog.DeadMansSwitchURL:   "dead-mans-switch-url",
}

//go:embed alertmanager.yml
var file string

// Config is the configuration of Alertmanager with the receivers that have a secret. Their files are in folder. Without any, Alertmanager
// only shows alerts.
func Config(stackName, folder string, has func(secret string) bool) ([]byte, error) {
	return yaml.Marshal(fill(stackName, folder, has))
}

func fill(stackName, folder string, has func(secret string) bool) config {
	values := map[string]any{"stack": stackName, "page": catalog.Page, "ticket": catalog.Ticket, "stream": network.Stream, "public": catalog.Public(catalog.Services()).Name}
	for secret, file := range Files {
		values[secret] = ""
		if has(secret) {
			values[secret] = path.Join(folder, file)
		}
	}
	return configfile.Decode[config](file, values)
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
