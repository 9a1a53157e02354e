package rule

import (
	"time"

	"platform.example/infra/catalog"
)

// nodes is the machines that all of it runs on.
func nodes() Group {
	// Of a node speak kube-state-metrics, the kubelet and the node-exporter; one alert is to name one job.
	const job = `, "job", "node", "", "")`
	return Group{Name: "nodes", Alerts: []Alert{
		{
			Name: "NodeNotReady", For: time.Minute, Severity: catalog.Page,
			Expr:        `label_replace(max by (node) (kube_node_status_condition{condition="Ready", status="true"}) == 0` + job,
			Summary:     "{{ $labels.node }}: the node isn't ready",
			Description: "Kubernetes has heard nothing good of {{ $labels.node }} for a minute. Its pods are taken to be lost five minutes later.",
		},
		{
			Name: "NodePressure", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr:        `label_replace(max by (node, condition) (kube_node_status_condition{condition=~".+Pressure", status="true"}) == 1` + job,
			Summary:     "{{ $labels.node }}: {{ $labels.condition }}",
			Description: "{{ $labels.node }} says {{ $labels.condition }}: it evicts pods, those with the lowest priority first, and takes no new ones.",
		},
		{
			Name: "NodeMemoryLow", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `label_replace(max by (node) (node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes) < 0.07` + job,
			Summary:     "{{ $labels.node }}: little memory is left",
			Description: "{{ $value | humanizePercentage }} of the memory of {{ $labels.node }} is available. Soon the kernel chooses whom to kill.",
		},
		{
			Name: "NodeDiskFilling", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr: `label_replace(min by (node, device) (node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"} / node_filesystem_size_bytes) < 0.3
  and on (node, device) min by (node, device) (predict_linear(node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"}[6h], 24 * 3600)) < 0` + job,
			Summary:     "{{ $labels.node }}: the disk is full within a day",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.device }} of {{ $labels.node }} is free, and at the pace of the last six hours nothing will be in a day. Then pods are evicted and images don't fit.",
		},
		{
			Name: "NodeDiskFull", For: 2 * time.Minute, Severity: catalog.Page,
			Expr:        `label_replace(min by (node, device) (node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"} / node_filesystem_size_bytes) < 0.05` + job,
			Summary:     "{{ $labels.node }}: the disk is full",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.device }} of {{ $labels.node }} is free. Stores on it can't write, and pods are being evicted.",
		},
	}}
}
