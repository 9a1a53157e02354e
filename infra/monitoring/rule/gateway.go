package rule

import (
	"fmt"
	"slices"
	"time"

	"platform.example/infra/catalog"
)

// gateway is what the gateway finds of the services behind it. The alert's job is the service it speaks of.
func gateway(services []catalog.Service) Group {
	group := Group{Name: "gateway"}
	for _, severity := range severities(services) {
		group.Alerts = append(group.Alerts, Alert{
			Name: "BreakerOpen", For: time.Minute, KeepFiring: time.Minute, Severity: severity,
			// Open breakers try again every few seconds, and are half open then.
			Expr: fmt.Sprintf(`label_replace(max by (service) (max_over_time(gateway_breaker_state{service=~"%s"}[1m])) == 2, "job", "$1", "service", "(.+)")`,
				loud(services, severity)),
			Summary:     "{{ $labels.job }}: the gateway has stopped asking it",
			Description: "The breaker for {{ $labels.job }} has been open for a minute: too much of what the gateway asked failed. Users get 503 for all that needs it.",
		})
	}
	edge := catalog.Ticket // what a breach of the public service is
	if i := slices.IndexFunc(services, func(s catalog.Service) bool { return s.Public }); i >= 0 {
		edge = services[i].Objectives.Breach
	}
	group.Alerts = append(group.Alerts, Alert{
		Name: "BulkheadFull", For: 2 * time.Minute, Severity: catalog.Ticket,
		Expr:        `label_replace(sum by (service) (rate(gateway_rejections_total{reason="bulkhead"}[2m])) > 0.1, "job", "$1", "service", "(.+)")`,
		Summary:     "{{ $labels.job }}: the gateway turns requests away",
		Description: "{{ $value | humanize }} requests a second are turned away, because {{ $labels.job }} has as many in hand as it may have.",
	}, Alert{
		Name: "RevocationsOld", For: time.Minute, Severity: edge,
		Expr:        `max by (job) (gateway_revocations_age_seconds) > 300`,
		Summary:     "{{ $labels.job }}: it hasn't heard which sessions were revoked",
		Description: "A replica of {{ $labels.job }} last heard {{ $value | humanizeDuration }} ago which sessions were revoked. One that was signed out since may still be let in.",
	})
	return group
}
