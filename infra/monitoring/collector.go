package monitoring

import (
	_ "embed"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/configfile"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

//go:embed collector.yml
var collectorFile string

// collector receives the services' traces and forwards failed and slow ones, and 5 % of the others.
func (a Args) collector() part {
	const memory = 256 * quantity.MiB
	address, plain := strings.CutPrefix(a.Config.Monitoring.Traces, "http://")
	anyAddress := "0.0.0.0" // where an empty address isn't allowed
	if slices.Contains(a.Profile.Families, stack.IPv6) {
		anyAddress = "::"
	}
	config := configfile.Decode[object](collectorFile, object{
		"port": network.CollectorPort, "opsPort": network.CollectorOpsPort, "anyAddress": anyAddress, "to": address, "plain": plain,
	})
	p := part{
		name: network.Collector, image: network.Collector, port: network.CollectorPort, ops: network.CollectorOpsPort, health: "/metrics",
		memory: memory, cpu: 500, config: pulumi.StringMap{"config.yaml": pulumi.String(must(yaml.Marshal(config)))},
	}
	p.command = []string{"/otelcol-contrib", "--config=" + p.configFolder() + "/config.yaml"}
	return p
}
