package monitoring

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/route"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

// alertmanager sends alerts to people. It keeps silences and its notification log on a volume. Prometheus resends alerts, so an alert
// during a restart isn't lost.
func (a Args) alertmanager() part {
	p := part{
		name: network.Alertmanager, image: "alertmanager", port: network.AlertmanagerPort, health: "/-/ready",
		memory: 64 * quantity.MiB, cpu: 200, volume: 256 * quantity.MiB,
		secrets: pulumi.StringMap{},
	}
	for secret, file := range map[string]string{
		catalog.SlackWebhookURL: route.SlackFile, catalog.PagerDutyRoutingKey: route.PagerDutyFile,
		catalog.AlertWebhookURL: route.WebhookFile, catalog.DeadMansSwitchURL: route.DeadMansSwitchFile,
	} {
		if a.Secrets.Has(secret) {
			p.secrets[file] = a.Secrets.Value(secret)
		}
	}
	receivers := route.Receivers{
		Slack: a.Secrets.Has(catalog.SlackWebhookURL), PagerDuty: a.Secrets.Has(catalog.PagerDutyRoutingKey),
		Webhook: a.Secrets.Has(catalog.AlertWebhookURL), DeadMansSwitch: a.Secrets.Has(catalog.DeadMansSwitchURL),
	}
	config := must(route.Config(a.Config.Name, p.secretFolder(), receivers))
	p.config = pulumi.StringMap{"alertmanager.yml": pulumi.String(config)}
	p.command = []string{
		"/bin/alertmanager", "--config.file=" + p.configFolder() + "/alertmanager.yml", "--storage.path=" + p.dataFolder(),
		fmt.Sprintf("--web.listen-address=:%d", p.port), "--cluster.listen-address=", // only one replica
	}
	return p
}
