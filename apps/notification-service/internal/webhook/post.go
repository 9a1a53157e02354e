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
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/notification-service/internal/notification"
)

const (
	postTimeout      = 5 * time.Second
	maxResponseBytes = 64 << 10 // read and discarded, so that the connection can be reused
	maxHeaderBytes   = 16 << 10
)

// maxRetryAfter limits how long a receiver can postpone a delivery.
const maxRetryAfter = time.Hour

// errGone means that the receiver wants no more deliveries.
var errGone = errors.New("the receiver responds with 410 Gone")

// newClient returns a client that doesn't follow redirects.
func newClient() *http.Client {
	return &http.Client{
		Timeout: postTimeout,
		Transport: &http.Transport{
			MaxConnsPerHost:        concurrency,
			MaxIdleConnsPerHost:    concurrency,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

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
