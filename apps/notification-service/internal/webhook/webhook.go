// Package webhook delivers notifications to an external receiver, at least once. The receiver recognises a
// repeated delivery by the header webhook-id.
//
// Requests follow the Standard Webhooks specification (standardwebhooks.com). The bytes of the secret are the
// key; for libraries that expect whsec_…, encode those bytes in base64.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	"platform.example/apps/notification-service/internal/store"
)

const (
	concurrency  = 8
	pollInterval = 500 * time.Millisecond
	// lease is how long an attempt may take before the delivery is due again: a POST, and a slow database
	// that stores the result.
	lease         = 30 * time.Second
	settleTimeout = 3 * time.Second
	watchInterval = 5 * time.Second
)

// Retry states how often, and after which delays, a delivery is tried.
type Retry struct {
	Backoff  backoff.Policy
	Attempts int
}

// DefaultRetry tries for about half an hour.
func DefaultRetry() Retry {
	return Retry{Backoff: backoff.Policy{Base: time.Second, Max: time.Hour}, Attempts: 12}
}

// Deliverer delivers the due deliveries of a store.
type Deliverer struct {
	config Config
	retry  Retry
	store  *store.Store
	log    *slog.Logger
	client *http.Client
	pause  backoff.Policy // while the database is unavailable

	attempts *prometheus.CounterVec
	pending  prometheus.Gauge
}

// New returns a Deliverer of the deliveries in s.
func New(c Config, retry Retry, s *store.Store, log *slog.Logger, registry prometheus.Registerer) *Deliverer {
	auto := promauto.With(registry)
	return &Deliverer{
		config: c, retry: retry, store: s, log: log, client: newClient(),
		pause: backoff.Policy{Base: 100 * time.Millisecond, Max: 5 * time.Second},
		attempts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "notification_service_webhook_deliveries_total", Help: "Attempts to deliver, by outcome.",
		}, []string{"outcome"}),
		pending: auto.NewGauge(prometheus.GaugeOpts{
			Name: "notification_service_webhook_pending", Help: "Deliveries that are neither delivered nor given up.",
		}),
	}
}

// Run delivers until ctx is done.
func (d *Deliverer) Run(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		taken, err := d.store.TakeDeliveries(ctx, concurrency, lease)
		if ctx.Err() != nil {
			return // deliveries just taken are due again after their lease
		}
		if err != nil {
			if failures++; failures == 1 {
				d.log.Warn("deliveries wait for the database", "cause", err)
			}
			d.pause.Wait(ctx, failures)
			continue
		}
		failures = 0
		d.deliverAll(ctx, taken)
		if len(taken) < concurrency {
			backoff.Sleep(ctx, pollInterval)
		}
	}
}

func (d *Deliverer) deliverAll(ctx context.Context, taken []store.Delivery) {
	var running sync.WaitGroup
	for _, delivery := range taken {
		running.Go(func() { d.deliver(ctx, delivery) })
	}
	running.Wait()
}

// deliver makes an attempt and stores the result. If storing fails, the delivery is due again after its
// lease.
func (d *Deliverer) deliver(ctx context.Context, delivery store.Delivery) {
	log := d.log.With("notification_id", delivery.ID, "attempt", delivery.Attempt)
	cause := errors.New("the last attempt was aborted") // by a crash, if Attempt is above the limit
	if delivery.Attempt <= d.retry.Attempts {
		cause = d.post(ctx, delivery.Notification)
	}
	// Store the result even if ctx is done.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	var err error
	switch {
	case cause == nil:
		d.attempts.WithLabelValues("delivered").Inc()
		log.Debug("notification delivered")
		err = d.store.Delivered(settling, delivery)
	case ctx.Err() != nil: // the stop of this replica ended the attempt
		err = d.store.Release(settling, delivery)
	case errors.Is(cause, errGone) || delivery.Attempt >= d.retry.Attempts:
		d.attempts.WithLabelValues("gave_up").Inc()
		log.Error("notification is not delivered: gave up", "cause", cause)
		err = d.store.GiveUp(settling, delivery, cause.Error())
	default:
		d.attempts.WithLabelValues("failed").Inc()
		wait := d.retry.Backoff.Delay(delivery.Attempt)
		if refused, ok := errors.AsType[refusal](cause); ok {
			wait = max(wait, refused.after)
		}
		log.Warn("notification is not delivered yet", "again_in", wait, "cause", cause)
		err = d.store.Retry(settling, delivery, wait, cause.Error())
	}
	if err != nil {
		log.Warn("storing the result of a delivery failed: it is delivered again", "cause", err)
	}
}

// Watch updates the gauge of pending deliveries until ctx is done. While the database is unavailable it keeps
// its value.
func (d *Deliverer) Watch(ctx context.Context) {
	background.Every(ctx, watchInterval, func() {
		if count, err := d.store.PendingDeliveries(ctx); err == nil {
			d.pending.Set(float64(count))
		} else if ctx.Err() == nil {
			d.log.Debug("counting deliveries failed", "cause", err)
		}
	})
}

// minSecretBytes is the size of the hash: RFC 2104, 3 discourages shorter keys.
const minSecretBytes = 32

// Config is the receiver of notifications.
type Config struct {
	URL     *url.URL        // nil means no webhook
	Secrets []config.Secret // each signs; during a rotation the new and the previous one
}

// ReadConfig reads a Config from WEBHOOK_URL and WEBHOOK_SECRET: both must be set, or neither.
func ReadConfig(e *config.Env) Config {
	const url, secret = "WEBHOOK_URL", "WEBHOOK_SECRET"
	if config.ParsedOr(e, url, "", config.String)+config.ParsedOr(e, secret, "", config.String) == "" {
		return Config{}
	}
	return Config{URL: config.Parsed(e, url, config.HTTPURL), Secrets: config.Parsed(e, secret, secrets)}
}

// secrets parses one or more secrets, separated by commas.
func secrets(raw string) (list []config.Secret, err error) {
	for secret := range strings.SplitSeq(raw, ",") {
		if len(secret) < minSecretBytes {
			return nil, fmt.Errorf("has %d bytes: must have at least %d", len(secret), minSecretBytes)
		}
		list = append(list, config.NewSecret(secret))
	}
	return list, nil
}
