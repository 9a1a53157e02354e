package monitoring

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/configfile"
	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
)

//go:embed grafana.ini
var grafanaINI string

//go:embed grafana.yml
var grafanaFiles string

// grafana shows the dashboards to administrators.
func (a Args) grafana(boards []dashboard.Dashboard) part {
	p := part{
		name: network.Grafana, image: "grafana", port: network.GrafanaPort, health: "/api/health",
		memory: 256 * quantity.MiB, cpu: 500,
		secrets: pulumi.StringMap{"password": a.Secrets.Value(catalog.GrafanaPassword)},
		config:  pulumi.StringMap{}, boards: pulumi.StringMap{},
	}
	p.scratch = []string{p.dataFolder(), "/tmp"}
	p.command = []string{
		"/usr/share/grafana/bin/grafana", "server", "--homepath=/usr/share/grafana",
		"--config=" + p.configFolder() + "/grafana.ini",
	}
	// All of its configuration is in files, so it may lose its own database at any time.
	p.env = pulumi.StringMap{
		"GF_PATHS_DATA":                    pulumi.String(p.dataFolder()),
		"GF_PATHS_PROVISIONING":            pulumi.String(p.configFolder()),
		"GF_SECURITY_ADMIN_PASSWORD__FILE": pulumi.String(p.secretFolder() + "/password"),
	}
	p.config["grafana.ini"] = pulumi.String(strings.NewReplacer(
		"{port}", fmt.Sprint(network.GrafanaPort), "{home}", p.configFolder()+"/"+dashboard.Home+".json",
	).Replace(grafanaINI))
	for file, content := range configfile.Decode[map[string]object](grafanaFiles, object{
		"uid": dashboard.Prometheus, "interval": interval, "folder": p.configFolder(),
		"prometheus":   fmt.Sprintf("http://%s:%d", a.host(network.Prometheus), network.PrometheusPort),
		"alertmanager": fmt.Sprintf("http://%s:%d", a.host(network.Alertmanager), network.AlertmanagerPort),
	}) {
		p.config[file] = pulumi.String(must(yaml.Marshal(content)))
	}
	p.places = map[string]string{"datasources.yaml": "datasources/datasources.yaml", "dashboards.yaml": "dashboards/dashboards.yaml"}
	for _, board := range boards {
		p.boards[board.UID()] = pulumi.String(must(board.JSON()))
	}
	return p
}
