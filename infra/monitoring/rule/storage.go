package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

// storage is the volumes, as far as their driver measures them; a folder of the node is measured with the node's disk.
func storage(ours string) Group {
	free := fmt.Sprintf(`min by (job, namespace, persistentvolumeclaim) (kubelet_volume_stats_available_bytes{%s} / kubelet_volume_stats_capacity_bytes)`, ours)
	return Group{Name: "storage", Alerts: []Alert{
		{
			Name: "VolumeFilling", For: 30 * time.Minute, Severity: catalog.Ticket,
			Expr: ofClaim(fmt.Sprintf(`%s < 0.4
  and min by (job, namespace, persistentvolumeclaim) (predict_linear(kubelet_volume_stats_available_bytes{%s}[6h], 24 * 3600)) < 0`, free, ours)),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} is full within a day",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free, and at the pace of the last six hours nothing will be in a day.",
		},
		{
			Name: "VolumeFull", For: time.Minute, Severity: catalog.Page,
			Expr:        ofClaim(free + ` < 0.05`),
			Summary:     "{{ $labels.job }}: volume {{ $labels.persistentvolumeclaim }} is full",
			Description: "{{ $value | humanizePercentage }} of {{ $labels.persistentvolumeclaim }} in {{ $labels.namespace }} is free. Its server soon refuses to write.",
		},
	}}
}
