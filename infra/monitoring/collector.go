package monitoring

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/stack"
)

// collector receives the services' traces and forwards failed and slow ones, and 5 % of the others.
func (a Args) collector() part {
	const memory = 256 * quantity.MiB
	address, plain := strings.CutPrefix(a.Config.Monitoring.Traces, "http://")
	anyAddress := "0.0.0.0" // where an empty address isn't allowed
	if slices.Contains(a.Profile.Families, stack.IPv6) {
		anyAddress = "::"
	}
	config := must(yaml.Marshal(object{
		"receivers": object{"otlp": object{"protocols": object{
			"http": object{"endpoint": fmt.Sprintf(":%d", network.CollectorPort)},
		}}},
		"processors": object{
			"memory_limiter": object{"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20},
			"tail_sampling": object{
				"decision_wait": "10s", // longer than a request with all its retries
				"num_traces":    20_000,
				"policies": []object{
					{"name": "failed", "type": "status_code", "status_code": object{"status_codes": []string{"ERROR"}}},
					{"name": "slow", "type": "latency", "latency": object{"threshold_ms": 500}},
					{"name": "some", "type": "probabilistic", "probabilistic": object{"sampling_percentage": 5}},
				},
			},
			"batch": object{},
		},
		"exporters": object{"otlp_grpc": object{
			"endpoint":      address,
			"tls":           object{"insecure": plain},
			"sending_queue": object{"queue_size": 1000},
		}},
		"service": object{
			"telemetry": object{"metrics": object{"readers": []object{{"pull": object{"exporter": object{"prometheus": object{
				"host": anyAddress, "port": network.CollectorOpsPort,
			}}}}}}},
			"pipelines": object{"traces": object{
				"receivers":  []string{"otlp"},
				"processors": []string{"memory_limiter", "tail_sampling", "batch"},
				"exporters":  []string{"otlp_grpc"},
			}},
		},
	}))
	p := part{
		name: network.Collector, image: network.Collector, port: network.CollectorPort, ops: network.CollectorOpsPort, health: "/metrics",
		memory: memory, cpu: 500, config: pulumi.StringMap{"config.yaml": pulumi.String(config)},
	}
	p.command = []string{"/otelcol-contrib", "--config=" + p.configFolder() + "/config.yaml"}
	return p
}
