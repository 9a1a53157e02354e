package route

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/rule"
)

const folder = "/run/secrets/alertmanager"

// The names of receivers, and that of the alert that always fires.
const (
	pages          = "pages"
	tickets        = "tickets"
	webhook        = "webhook"
	deadMansSwitch = "dead-mans-switch"
	watchdog       = "Watchdog"
)

// receivers reports whether the secret of a receiver is set.
type receivers func(secret string) bool

func only(secrets ...string) receivers {
	return func(secret string) bool { return slices.Contains(secrets, secret) }
}

var everyReceiver = only(slices.Collect(maps.Keys(Files))...)

// filled returns the configuration with the receivers.
func filled(has receivers) config { return fill("production", folder, has) }

// channel returns the first channel of a kind of a receiver, or nil without one.
func (c config) channel(receiver, kind string) map[string]any {
	at := slices.IndexFunc(c.Receivers, func(r map[string]any) bool { return r["name"] == receiver })
	if at < 0 {
		return nil
	}
	channels, _ := c.Receivers[at][kind].([]any)
	if len(channels) != 1 {
		return nil
	}
	return channels[0].(map[string]any)
}

func TestAlertmanagerAcceptsTheConfig(t *testing.T) {
	for choice := range 16 {
		var chosen []string
		for i, secret := range slices.Sorted(maps.Keys(Files)) {
			if choice&(1<<i) > 0 {
				chosen = append(chosen, secret)
			}
		}
		if out, err := amtool(t, "check-config", write(t, only(chosen...))).CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", chosen, err, out)
		}
	}
}

func TestRouting(t *testing.T) {
	all := everyReceiver
	const page, ticket, alive = "alertname=ServiceDown job=user-service severity=page", "alertname=DeadLetters job=notification-service severity=ticket",
		"alertname=Watchdog job=prometheus severity=none"
	for _, test := range []struct {
		about, labels string
		receivers     receivers
		want          string
	}{
		{"a page with all receivers", page, all, "webhook,pages"},
		{"a ticket", ticket, all, "webhook,tickets"},
		{"the heartbeat", alive, all, "webhook,dead-mans-switch"},
		{"an alert without a severity", "alertname=Other job=x", all, "webhook,tickets"},
		{"a page without a webhook", page, only(catalog.SlackWebhookURL, catalog.PagerDutyRoutingKey), "pages"},
		{"a page with only Slack", page, only(catalog.SlackWebhookURL), "pages"},
		{"a ticket with only PagerDuty", ticket, only(catalog.PagerDutyRoutingKey), "nobody"},
		{"a page with only the webhook", page, only(catalog.AlertWebhookURL), "webhook,nobody"},
		{"a page without receivers", page, only(), "nobody"},
		{"a ticket without receivers", ticket, only(), "nobody"},
		{"the heartbeat with only Slack", alive, only(catalog.SlackWebhookURL), "nobody"},
	} {
		arguments := []string{"config", "routes", "test", "--config.file=" + write(t, test.receivers), "--verify.receivers=" + test.want}
		out, err := amtool(t, append(arguments, strings.Fields(test.labels)...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: want %s: %v\n%s", test.about, test.want, err, out)
		}
	}
}

func TestReceivers(t *testing.T) {
	all := filled(everyReceiver)
	if all.channel(pages, "pagerduty_configs") == nil || all.channel(pages, "slack_configs") == nil {
		t.Errorf("pages go to %+v, want PagerDuty and Slack", all.Receivers)
	}
	if all.channel(tickets, "pagerduty_configs") != nil || all.channel(tickets, "slack_configs") == nil {
		t.Errorf("tickets go to %+v, want Slack", all.Receivers)
	}
	if got := all.channel(deadMansSwitch, "webhook_configs"); got == nil || got["send_resolved"] != false {
		t.Errorf("the heartbeat goes to %+v, want a webhook that is never told of an end", got)
	}
}

// Checks the time that Alertmanager adds to that of Prometheus.
func TestPagesAreSentWithinTenSeconds(t *testing.T) {
	routes := filled(everyReceiver).Route
	for _, child := range routes.Routes {
		if child.Receiver != pages && child.Receiver != webhook {
			continue
		}
		if wait, err := time.ParseDuration(child.Wait); err != nil || wait >= 10*time.Second {
			t.Errorf("%s waits %s (%v)", child.Receiver, child.Wait, err)
		}
	}
	if !slices.Equal(routes.By, []string{"alertname", "job"}) {
		t.Errorf("grouped by %v, want one message per alert and job", routes.By)
	}
}

// Alertmanager repeats a notification at the first interval that begins after the repeat time has passed.
func TestHeartbeatComesEachMinute(t *testing.T) {
	routes := filled(only(catalog.DeadMansSwitchURL)).Route.Routes
	alive := routes[slices.IndexFunc(routes, func(r route) bool { return r.Receiver == deadMansSwitch })]
	repeat, err := time.ParseDuration(alive.Repeat)
	if err != nil || alive.Interval != "60s" || repeat >= time.Minute || alive.Wait != "0s" || !slices.Equal(alive.Matchers, []string{`alertname="` + watchdog + `"`}) {
		t.Errorf("the heartbeat of %v waits %s, and repeats after %s at intervals of %s", alive.Matchers, alive.Wait, alive.Repeat, alive.Interval)
	}
}

func TestNotificationsSayWhatAndSinceWhenAndWhatToDo(t *testing.T) {
	type alert struct {
		Annotations  map[string]string
		StartsAt     time.Time
		GeneratorURL string
	}
	annotations := map[string]string{
		"summary": "order-service: no replica responds", "description": "0 replicas.", "release": "blue 0123abcd since 2026-11-30T12:00:00Z",
		"runbook_url": "https://example.com/ServiceDown.md", "silence_url": "https://example.com/silence", "dashboard_url": "https://example.com/d/platform",
	}
	about := struct {
		Alerts            []alert
		CommonAnnotations map[string]string
	}{[]alert{{annotations, time.Date(2026, 11, 30, 14, 5, 0, 0, time.FixedZone("CET", 3600)), "https://example.com/graph"}}, annotations}
	fill := func(text any) string {
		var filled strings.Builder
		if err := template.Must(template.New("").Parse(text.(string))).Execute(&filled, about); err != nil {
			t.Fatal(err)
		}
		return filled.String()
	}
	all := filled(everyReceiver)
	text := all.channel(pages, "slack_configs")["text"]
	if text != all.channel(tickets, "slack_configs")["text"] {
		t.Error("Slack gets another text for tickets")
	}
	details, _ := all.channel(pages, "pagerduty_configs")["details"].(map[string]any)
	if got, want := fill(text), "*order-service: no replica responds*, since 2026-11-30 13:05 UTC\n0 replicas.\nLive: blue 0123abcd since 2026-11-30T12:00:00Z\n"+
		"<https://example.com/graph|Graph>, <https://example.com/d/platform|dashboards>, <https://example.com/ServiceDown.md|runbook>, <https://example.com/silence|silence>\n"; got != want {
		t.Errorf("Slack gets\n%s\nwant\n%s", got, want)
	}
	for name, want := range map[string]string{
		"since": "2026-11-30 13:05 UTC", "live": annotations["release"], "graph": "https://example.com/graph", "dashboards": annotations["dashboard_url"],
		"runbook": annotations["runbook_url"], "silence": annotations["silence_url"],
	} {
		if got := strings.TrimSpace(fill(details[name])); got != want {
			t.Errorf("PagerDuty gets as %s %q, want %q", name, got, want)
		}
	}
	delete(annotations, "release")
	if got := fill(text); strings.Contains(got, "Live") {
		t.Errorf("for an alert that isn't on a service, Slack gets\n%s", got)
	}
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	content, err := Config("production", folder, everyReceiver)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"api_url_file: " + folder + "/slack-webhook-url", "routing_key_file: " + folder + "/pagerduty-routing-key",
		"url_file: " + folder + "/webhook-url", "url_file: " + folder + "/dead-mans-switch-url",
	} {
		if !strings.Contains(string(content), want) {
			t.Errorf("no %s", want)
		}
	}
	if found := regexp.MustCompile(`(?m)^\s*-?\s*(url|api_url|routing_key|service_key|password):`).FindString(string(content)); found != "" {
		t.Errorf("%q stands in the configuration, which is no Secret", strings.TrimSpace(found))
	}
}

func TestInhibitionsNameExistingAlerts(t *testing.T) {
	severities := map[string][]catalog.Severity{}
	for _, group := range rule.Groups(catalog.Services(), rule.Options{}) {
		for _, alert := range group.Alerts {
			severities[alert.Name] = append(severities[alert.Name], alert.Severity)
		}
	}
	names := regexp.MustCompile(`^alertname=~?"(.+)"$`)
	for _, inhibition := range filled(only()).Inhibit {
		for _, matcher := range slices.Concat(inhibition.Source, inhibition.Target) {
			if match := names.FindStringSubmatch(matcher); match != nil {
				for name := range strings.SplitSeq(match[1], "|") {
					if severities[name] == nil {
						t.Errorf("no alert is called %s: fix alertmanager.yml", name)
					}
				}
			}
		}
	}
	if !slices.Contains(severities[watchdog], rule.None) {
		t.Errorf("no alert %s fires always", watchdog)
	}
}

func TestInhibitions(t *testing.T) {
	type labels = map[string]string
	alert := func(name, severity, job string, more ...string) labels {
		made := labels{"alertname": name, "severity": severity, "job": job}
		for _, one := range more {
			label, value, _ := strings.Cut(one, "=")
			made[label] = value
		}
		return made
	}
	down := alert("ServiceDown", "page", "user-service")
	dead := alert("NodeNotReady", "page", "node", "node=n1")
	postgres := alert("PostgresDown", "page", "postgres")
	inhibitions := filled(only()).Inhibit
	for _, test := range []struct {
		fires, follows labels
		silenced       bool
	}{
		{down, alert("AvailabilityBudgetBurn", "page", "user-service", "burn=fast"), true},
		{down, alert("ReplicasShort", "ticket", "user-service", "kind=deployment"), true},
		{down, alert("TargetDown", "ticket", "user-service"), true},
		{down, alert("AvailabilityBudgetBurn", "page", "order-service", "burn=fast"), false},
		{down, alert("PodCrashLooping", "ticket", "user-service"), false},
		{dead, alert("TargetDown", "ticket", "coredns", "node=n1"), true},
		{dead, alert("PodCrashLooping", "ticket", "user-service", "node=n1"), true},
		{dead, alert("PodCrashLooping", "ticket", "user-service", "node=n2"), false},
		{dead, alert("ServiceDown", "page", "user-service"), false},
		{postgres, alert("AvailabilityBudgetBurn", "page", "order-service", "burn=fast"), true},
		{postgres, alert("OutboxStuck", "ticket", "order-service"), true},
		{postgres, alert("EdgeDown", "page", "edge"), false},
		{alert("RedisDown", "page", "redis-stream"), alert("OutboxStuck", "ticket", "order-service"), true},
		{alert("RedisDown", "ticket", "redis-cache"), alert("OutboxStuck", "ticket", "order-service"), false},
		{alert("StreamMemory", "page", "redis-stream"), alert("StreamMemory", "ticket", "redis-stream"), true},
		{alert("AvailabilityBudgetBurn", "page", "user-service", "burn=fast"), alert("AvailabilityBudgetBurn", "ticket", "user-service", "burn=slow"), true},
		{alert("AvailabilityBudgetBurn", "page", "user-service", "burn=fast"), alert("AvailabilityBudgetBurn", "ticket", "order-service", "burn=slow"), false},
		{alert("EdgeDown", "page", "edge"), alert("TargetMissing", "ticket", "edge"), true},
		{alert("EdgeDown", "page", "edge"), alert("EdgeUnreachable", "page", "edge"), true},
		{alert("EdgeUnreachable", "page", "edge"), alert("EdgeFailing", "page", "edge"), false},
		{alert("ServiceDown", "page", "api-gateway"), alert("EdgeUnreachable", "page", "edge"), true},
		{alert("LiveColourDown", "page", "api-gateway"), alert("EdgeUnreachable", "page", "edge"), true},
		{alert("ServiceDown", "page", "api-gateway"), alert("EdgeTrafficGone", "ticket", "edge"), true},
		{alert("ServiceDown", "page", "order-service"), alert("EdgeUnreachable", "page", "edge"), false},
		{alert("LiveColourDown", "page", "order-service"), alert("EdgeUnreachable", "page", "edge"), false},
		{alert("LiveColourDown", "page", "order-service"), alert("EdgeFailing", "page", "edge"), true},
		{alert("ServiceDown", "ticket", "notification-service"), alert("EdgeFailing", "page", "edge"), false},
		{alert("BreakerOpen", "page", "user-service"), alert("AvailabilityBudgetBurn", "page", "user-service", "burn=fast"), true},
		{alert("BreakerOpen", "page", "user-service"), alert("AvailabilityBudgetBurn", "page", "order-service", "burn=fast"), false},
		{alert("ServiceDown", "page", "user-service"), alert("RevocationsOld", "page", "api-gateway"), true},
		{alert("ServiceDown", "page", "order-service"), alert("RevocationsOld", "page", "api-gateway"), false},
		{alert("DnsDown", "page", "coredns"), alert("RedisDown", "page", "redis-stream"), true},
		{alert("DnsDown", "page", "coredns"), alert("ServiceDown", "page", "user-service"), false},
	} {
		if got := slices.ContainsFunc(inhibitions, func(i inhibition) bool { return i.silences(t, test.fires, test.follows) }); got != test.silenced {
			t.Errorf("while %v fires, %v is silenced: %v, want %v", test.fires, test.follows, got, test.silenced)
		}
	}
}

// silences evaluates inhibitions like Alertmanager (prometheus.io/docs/alerting/latest/configuration, "inhibit_rule").
func (i inhibition) silences(t *testing.T, source, target map[string]string) bool {
	if !match(t, i.Source, source) || !match(t, i.Target, target) || (match(t, i.Source, target) && match(t, i.Target, source)) {
		return false
	}
	return !slices.ContainsFunc(i.Equal, func(label string) bool { return source[label] != target[label] })
}

func match(t *testing.T, matchers []string, labels map[string]string) bool {
	for _, matcher := range matchers {
		parts := regexp.MustCompile(`^(\w+)(=~?)"(.*)"$`).FindStringSubmatch(matcher)
		if parts == nil {
			t.Fatalf("%s is no matcher that this test knows", matcher)
		}
		pattern := regexp.QuoteMeta(parts[3])
		if parts[2] == "=~" {
			pattern = parts[3]
		}
		if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(labels[parts[1]]) {
			return false
		}
	}
	return true
}

func write(t *testing.T, has receivers) string {
	t.Helper()
	content, err := Config("production", folder, has)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alertmanager.yml")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func amtool(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("amtool")
	if err != nil {
		t.Skip("amtool isn't on PATH: the configuration is not checked; `make unit` installs it")
	}
	return exec.CommandContext(t.Context(), path, arguments...)
}

func ExampleConfig() {
	content, err := Config("local", folder, only())
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Contains(string(content), "- name: nobody"))
	// Output: true
}
