package rule

import (
	"slices"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
)

// targets are the alerts on scrape targets.
func targets(services []catalog.Service, alerts []Alert) Group {
	group := Group{Name: "targets", Alerts: alerts}
	for _, job := range slices.Concat(always, slice.Map(services, func(service catalog.Service) string { return service.Name })) {
		group.Alerts = append(group.Alerts, Alert{
			Name: "TargetMissing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr:        noTarget(job),
			Labels:      map[string]string{"job": job},
			Summary:     "{{ $labels.job }}: Prometheus has no target",
			Description: "Prometheus has no target of {{ $labels.job }}: no pod runs, or Prometheus doesn't discover it. Alerts on it don't fire.",
		})
	}
	return group
}
