package rule

import (
	"time"

	"platform.example/infra/catalog"
)

// events is an order's way to the inbox: the outbox of order-service, the stream, notification-service and its webhook.
func events() Group {
	const failed = `sum by (job) (increase(notification_service_webhook_deliveries_total{outcome=~"failed|gave_up"}[15m]))`
	return Group{Name: "events", Alerts: []Alert{
		{
			Name: "OutboxStuck", For: 2 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (order_service_outbox_oldest_unpublished_seconds) > 180`,
			Summary:     "{{ $labels.job }}: events aren't published",
			Description: "The oldest event in the outbox of {{ $labels.job }} has waited {{ $value | humanizeDuration }}. Orders are safe; nobody is notified of them.",
		},
		{
			Name: "StreamLag", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (notification_service_stream_lag) + max by (job) (notification_service_stream_pending) > 1000`,
			Summary:     "{{ $labels.job }}: it can't keep up with the stream",
			Description: "{{ $value | humanize }} events wait to be handled by {{ $labels.job }}. Notifications come late.",
		},
		{
			Name: "StreamStalled", For: 10 * time.Minute, Severity: catalog.Ticket,
			Expr: `max by (job) (notification_service_stream_lag) + max by (job) (notification_service_stream_pending) > 0
and on (job) sum by (job) (rate(notification_service_events_handled_total[10m])) == 0`,
			Summary:     "{{ $labels.job }}: events wait and none is handled",
			Description: "{{ $value | humanize }} events wait, and in ten minutes {{ $labels.job }} has handled none.",
		},
		{
			Name: "StreamLost", Severity: catalog.Ticket, KeepFiring: time.Hour,
			Expr:        `sum by (job) (increase(order_service_stream_losses_total[10m])) > 0`,
			Summary:     "{{ $labels.job }}: the stream has lost events",
			Description: "{{ $labels.job }} found that the stream had lost entries and publishes them again. Nothing is missing in the end; why it lost them is worth knowing.",
		},
		{
			Name: "DeadLetters", For: time.Minute, Severity: catalog.Ticket,
			Expr:        `max by (job) (notification_service_dead_letters) > 0`,
			Summary:     "{{ $labels.job }}: {{ $value }} events could not be handled",
			Description: "{{ $value }} entries are in the stream orders:events:dead. Whom they concern wasn't notified, and won't be unless somebody acts.",
		},
		{
			Name: "WebhookFailing", For: 5 * time.Minute, Severity: catalog.Ticket,
			Expr: failed + ` / sum by (job) (increase(notification_service_webhook_deliveries_total[15m])) > 0.5
and on (job) ` + failed + ` >= 5`,
			Summary:     "{{ $labels.job }}: deliveries to the webhook fail",
			Description: "{{ $value | humanizePercentage }} of the attempts of the last quarter of an hour failed. Each is tried for about half an hour, then given up.",
		},
		{
			Name: "WebhookGaveUp", Severity: catalog.Ticket, KeepFiring: 30 * time.Minute,
			Expr:        `sum by (job) (increase(notification_service_webhook_deliveries_total{outcome="gave_up"}[10m])) > 0`,
			Summary:     "{{ $labels.job }}: notifications were not delivered",
			Description: "{{ $value | humanize }} deliveries to the webhook were given up within ten minutes. They aren't tried again by themselves.",
		},
	}}
}
