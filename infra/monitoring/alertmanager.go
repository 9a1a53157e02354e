package monitoring

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/monitoring/route"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

// alertmanager tells people. It keeps silences and what it has told on a volume, so that a restart neither forgets nor
// repeats; an alert that is raised while it is away reaches it when it is back, since Prometheus tells it again and again.
func (a Args) alertmanager() part {
	p := part{
		name: network.Alertmanager, image: "alertmanager", port: network.AlertmanagerPort, health: "/-/ready",
		memory: 64 * quantity.MiB, cpu: 200, volume: 256 * quantity.MiB,
		secrets: pulumi.StringMap{},
	}
	receivers := route.Receivers{}
	for _, given := range []struct {
		secret, file string
		there        *bool
	}{
		{catalog.SlackWebhookURL, route.SlackFile, &receivers.Slack},
		{catalog.PagerDutyRoutingKey, route.PagerDutyFile, &receivers.PagerDuty},
		{catalog.AlertWebhookURL, route.WebhookFile, &receivers.Webhook},
		{catalog.DeadMansSwitchURL, route.DeadMansSwitchFile, &receivers.DeadMansSwitch},
	} {
		if a.Secrets.Has(given.secret) {
			*given.there = true
			p.secrets[given.file] = a.Secrets.Value(given.secret)
		}
	}
	config := must(route.Config(a.Config.Name, p.secretFolder(), receivers))
	p.config = pulumi.StringMap{"alertmanager.yml": pulumi.String(config)}
	p.command = []string{
		"/bin/alertmanager", "--config.file=" + p.configFolder() + "/alertmanager.yml", "--storage.path=" + p.dataFolder(),
		fmt.Sprintf("--web.listen-address=:%d", p.port), "--cluster.listen-address=", // there is one of it
	}
	return p
}
