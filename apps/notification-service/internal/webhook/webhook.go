// Package webhook delivers notifications to an external receiver, at least once. The receiver recognises a
// repeated delivery by the header webhook-id.
//
// Requests follow the Standard Webhooks specification (standardwebhooks.com). The bytes of the secret are the
// key; for libraries that expect whsec_…, encode those bytes in base64.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"platform.example/apps/internal/background"
	"platform.example/apps/internal/backoff"
	"platform.example/apps/internal/config"
	"platform.example/apps/notification-service/internal/notification"
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
var DefaultRetry = Retry{Backoff: backoff.Policy{Base: time.Second, Max: time.Hour}, Attempts: 12}

// Deliverer delivers the due deliveries of a store.
type Deliverer struct {
	config Config
	retry  Retry
	store  *store.Store
	log    *slog.Logger
	client *http.Client

	attempts *prometheus.CounterVec
	pending  prometheus.Gauge
}

// New returns a Deliverer of the deliveries in s.
func New(c Config, retry Retry, s *store.Store, log *slog.Logger, registry prometheus.Registerer) *Deliverer {
	auto := promauto.With(registry)
	d := &Deliverer{
		config: c, retry: retry, store: s, log: log,
		client: &http.Client{
			Timeout: postTimeout,
			Transport: &http.Transport{
				MaxConnsPerHost:        concurrency,
				MaxIdleConnsPerHost:    concurrency,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: maxHeaderBytes,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // never follows one
		},
		attempts: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "notification_service_webhook_deliveries_total", Help: "Attempts to deliver, by outcome.",
		}, []string{"outcome"}),
		pending: auto.NewGauge(prometheus.GaugeOpts{
			Name: "notification_service_webhook_pending", Help: "Deliveries that are neither delivered nor given up.",
		}),
	}
	for _, outcome := range []string{"delivered", "failed", "gave_up"} { // so that rate() sees the first one
		d.attempts.WithLabelValues(outcome)
	}
	return d
}

// Run delivers until ctx is done.
func (d *Deliverer) Run(ctx context.Context) {
	backoff.Store.Repeat(ctx, d.log, "deliveries wait for the database", func() error {
		taken, err := d.store.TakeDeliveries(ctx, concurrency, lease)
		if err != nil || ctx.Err() != nil {
			return err // deliveries just taken are due again after their lease
		}
		var running sync.WaitGroup
		for _, delivery := range taken {
			running.Go(func() { d.deliver(ctx, delivery) })
		}
		running.Wait()
		if len(taken) < concurrency {
			backoff.Sleep(ctx, pollInterval)
		}
		return nil
	})
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

const (
	postTimeout      = 5 * time.Second
	maxResponseBytes = 64 << 10 // read and discarded, so that the connection can be reused
	maxHeaderBytes   = 16 << 10
)

// maxRetryAfter limits how long a receiver can postpone a delivery.
const maxRetryAfter = time.Hour

// errGone means that the receiver wants no more deliveries.
var errGone = errors.New("the receiver responds with 410 Gone")

// message is the body of a delivery: the notification and its user.
type message struct {
	notification.Notification
	UserID uuid.UUID `json:"user_id"`
}

// post sends n once, signed according to the Standard Webhooks specification.
func (d *Deliverer) post(ctx context.Context, n notification.Notification) error {
	n.ReadAt = nil // every attempt sends the same body
	body, err := json.Marshal(message{Notification: n, UserID: n.UserID})
	if err != nil {
		return fmt.Errorf("encoding notification %s: %w", n.ID, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.config.URL.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	id, timestamp := n.ID.String(), strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "notification-service")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", timestamp)
	request.Header.Set("Webhook-Signature", d.sign(id, timestamp, body))

	response, err := d.client.Do(request)
	if err != nil {
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err // without the URL, which may contain a token
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxResponseBytes))
	switch {
	case response.StatusCode >= 200 && response.StatusCode < 300:
		return nil
	case response.StatusCode == http.StatusGone:
		return errGone
	}
	return refusal{response.StatusCode, retryAfter(response.Header, time.Now())}
}

// sign returns the signature of each secret, separated by spaces: version 1, HMAC-SHA256 over id, time and
// body.
func (d *Deliverer) sign(id, timestamp string, body []byte) string {
	var signatures []string
	for _, secret := range d.config.Secrets {
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body) // a hash never fails
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}

// refusal is the error of a response that isn't a success.
type refusal struct {
	status int
	after  time.Duration // from Retry-After; 0 without one
}

func (r refusal) Error() string {
	return fmt.Sprintf("the receiver responds with %d %s", r.status, http.StatusText(r.status))
}

// retryAfter parses a Retry-After header (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	raw := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(raw); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(raw); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
