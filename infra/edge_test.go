package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"gopkg.in/yaml.v3"

	"platform.example/infra/namespace"
	"platform.example/infra/stack"
)

// Settings of both the edge and the gateway have the same value.
func TestEdgeAndGatewayAgree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Pulumi.production.yaml")
	writeFile(t, file, `config:
  platform:edge: {host: api.example.com, tlsSecret: api, requestsPerSecond: 70, trustedProxies: [203.0.113.0/24, "2001:db8::/32"]}
  platform:backup: {bucket: s3://backups/shop}
  platform:services: {api-gateway: {corsOrigins: "https://Shop.example.com:443, http://localhost:5173/"}}
`)
	objects, err := render("..", string(stack.Production), file)
	if err != nil {
		t.Fatal(err)
	}
	var gateway manifest
	var configured map[string]any // the edge's routes
	var flags []any
	for _, rendered := range objects {
		object := manifest(rendered)
		switch fmt.Sprint(object.at("kind"), " ", object.at("metadata", "name")) {
		case "ConfigMap api-gateway-blue-0000":
			gateway, _ = object.at("data").(map[string]any)
		case "ConfigMap edge-0000":
			if err := yaml.Unmarshal([]byte(object.at("data", "routes.yaml").(string)), &configured); err != nil {
				t.Fatal(err)
			}
		case "Deployment edge":
			flags, _ = object.at("spec", "template", "spec", "containers", 0, "command").([]any)
		}
	}
	const proxies = "203.0.113.0/24,2001:db8::/32"
	for variable, want := range map[string]string{
		"TRUSTED_PROXIES": proxies, "REQUESTS_PER_SECOND": "70", "CORS_ORIGINS": "https://shop.example.com,http://localhost:5173",
	} {
		if gateway[variable] != want {
			t.Errorf("the gateway has %s=%v, want %s", variable, gateway[variable], want)
		}
	}
	for _, entry := range []string{"http", "https"} {
		if !slices.Contains(flags, any("--entryPoints."+entry+".forwardedHeaders.trustedIPs="+proxies)) {
			t.Errorf("the edge trusts others at %s: %v", entry, flags)
		}
	}
	routes := manifest(configured)
	origins := routes.at("http", "middlewares", "cors", "headers", "accessControlAllowOriginList")
	if fmt.Sprint(origins) != "[https://shop.example.com http://localhost:5173]" {
		t.Errorf("the edge lets pages of %v read its answers", origins)
	}
	if routes.at("http", "middlewares", "rate") != nil {
		t.Error("the edge limits addresses, too, and knows them less well")
	}
}

// Monitoring reads only the platform's objects and has no permission for others.
func TestMonitoringSeesOnlyThePlatform(t *testing.T) {
	var own []string
	for _, name := range namespace.All() {
		own = append(own, string(name))
	}
	for _, rendered := range rendered(t, "production", "") {
		object := manifest(rendered)
		name, kind := fmt.Sprint(object.at("metadata", "name")), object.at("kind")
		switch {
		case kind == "ClusterRole":
			rules, _ := object.at("rules").([]any)
			for _, rule := range rules {
				resources, _ := manifest(rule.(map[string]any)).at("resources").([]any)
				for _, resource := range resources {
					if resource != "nodes" && resource != "nodes/metrics" && resource != "clusterimagecatalogs" { // which hold no data
						t.Errorf("%s may read %v of everybody", name, resource)
					}
				}
			}
		case kind == "ConfigMap" && name == "prometheus":
			var config struct {
				Scrapes []struct {
					Job        string `yaml:"job_name"`
					Discovered []struct {
						Role       string
						Namespaces struct{ Names []string }
						Selectors  []any
					} `yaml:"kubernetes_sd_configs"`
				} `yaml:"scrape_configs"`
			}
			if err := yaml.Unmarshal([]byte(object.at("data", "prometheus.yml").(string)), &config); err != nil {
				t.Fatal(err)
			}
			for _, scrape := range config.Scrapes {
				for _, found := range scrape.Discovered {
					ours := len(found.Namespaces.Names) > 0 && !slices.ContainsFunc(found.Namespaces.Names, func(name string) bool {
						return !slices.Contains(own, name)
					})
					if found.Role != "node" && !ours && len(found.Selectors) == 0 {
						t.Errorf("job %s watches every %s of %v", scrape.Job, found.Role, found.Namespaces.Names)
					}
				}
			}
		case kind == "Deployment" && strings.HasPrefix(name, "kube-state-metrics"):
			command, _ := json.Marshal(object.at("spec", "template", "spec", "containers", 0, "command"))
			want := "--namespaces=" + strings.Join(own, ",")
			if name == "kube-state-metrics-nodes" {
				want = "--resources=nodes"
			}
			if !strings.Contains(string(command), want+`"`) {
				t.Errorf("kube-state-metrics lacks %s: %s", want, command)
			}
			for _, metric := range []string{"kube_job_failed", "kube_pod_status_ready", "kube_node_status_condition", "kube_deployment_labels"} {
				if !strings.Contains(string(command), "|"+metric) && !strings.Contains(string(command), "("+metric) {
					t.Errorf("kube-state-metrics leaves out %s", metric)
				}
			}
		}
	}
}

// podTarget relabels a pod as Prometheus does. It reports whether Prometheus scrapes the pod.
func podTarget(t *testing.T, discovered ...string) (labels.Labels, bool) {
	t.Helper()
	var config struct {
		Scrapes []struct {
			Job     string            `yaml:"job_name"`
			Relabel []*relabel.Config `yaml:"relabel_configs"`
		} `yaml:"scrape_configs"`
	}
	for _, rendered := range rendered(t, "production", "") {
		if object := manifest(rendered); object.at("kind") == "ConfigMap" && object.at("metadata", "name") == "prometheus" {
			if err := yaml.Unmarshal([]byte(object.at("data", "prometheus.yml").(string)), &config); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, scrape := range config.Scrapes {
		if scrape.Job != "pods" {
			continue
		}
		for _, rule := range scrape.Relabel {
			rule.NameValidationScheme = model.UTF8Validation
		}
		return relabel.Process(labels.FromStrings(append(discovered, "__address__", "x", "__meta_kubernetes_pod_phase", "Running")...), scrape.Relabel...)
	}
	t.Fatal("no job scrapes pods")
	return labels.EmptyLabels(), false
}

// Prometheus scrapes a pod at its address, with either IP family.
func TestPodsAreScrapedAtTheirAddress(t *testing.T) {
	for address, want := range map[string]string{"10.1.2.3": "10.1.2.3:9090", "fd10:231::2c": "[fd10:231::2c]:9090"} {
		target, kept := podTarget(t, "__meta_kubernetes_pod_ip", address, "__meta_kubernetes_namespace", "apps",
			"__meta_kubernetes_pod_annotation_prometheus_io_scrape", "true", "__meta_kubernetes_pod_annotation_prometheus_io_port", "9090")
		if !kept || target.Get("__address__") != want {
			t.Errorf("a pod at %s is scraped at %s, want %s", address, target.Get("__address__"), want)
		}
	}
}

// Most clusters annotate only the Service of CoreDNS. Others have another DNS server, with the same label and its own port.
func TestDNSIsScraped(t *testing.T) {
	for about, test := range map[string]struct {
		annotations []string
		want        string
	}{
		"no annotations": {nil, "10.1.2.3:9153"},
		"its own port":   {[]string{"__meta_kubernetes_pod_annotation_prometheus_io_scrape", "true", "__meta_kubernetes_pod_annotation_prometheus_io_port", "10054"}, "10.1.2.3:10054"},
	} {
		target, kept := podTarget(t, append(test.annotations, "__meta_kubernetes_pod_ip", "10.1.2.3", "__meta_kubernetes_namespace", "kube-system",
			"__meta_kubernetes_pod_label_k8s_app", "kube-dns")...)
		if !kept || target.Get("__address__") != test.want || target.Get("job") != "coredns" {
			t.Errorf("with %s, a DNS server is scraped at %q as the job %q, want %s", about, target.Get("__address__"), target.Get("job"), test.want)
		}
	}
	if _, kept := podTarget(t, "__meta_kubernetes_pod_ip", "10.1.2.3", "__meta_kubernetes_namespace", "data"); kept {
		t.Error("a pod without annotations is scraped")
	}
}
