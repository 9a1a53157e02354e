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
	maxAnswerBytes   = 64 << 10 // read, so that the connection is used again; and thrown away
	maxAnswerHeaders = 16 << 10
)

// maxRetryAfter bounds the time for which a receiver can put a delivery off.
const maxRetryAfter = time.Hour

// errGone is the receiver's word that it wants nothing any more.
var errGone = errors.New("the receiver answers 410 Gone")

// newClient returns a client that asks the URL it is told and no other.
func newClient() *http.Client {
	return &http.Client{
		Timeout: postTimeout,
		Transport: &http.Transport{
			MaxConnsPerHost:        concurrency,
			MaxIdleConnsPerHost:    concurrency,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxAnswerHeaders,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// message is what the receiver gets: the notification, and for whom it is.
type message struct {
	notification.Notification
	UserID uuid.UUID `json:"user_id"`
}

// post delivers n once, signed as the Standard Webhooks specification says.
func (d *Deliverer) post(ctx context.Context, n notification.Notification) error {
	n.ReadAt = nil // the same words at every attempt
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
		if asked, ok := errors.AsType[*url.Error](err); ok {
			err = asked.Err // without the URL, which may hold a token
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswerBytes))
	switch {
	case response.StatusCode >= 200 && response.StatusCode < 300:
		return nil
	case response.StatusCode == http.StatusGone:
		return errGone
	}
	return refusal{response.StatusCode, retryAfter(response.Header, time.Now())}
}

// sign returns a signature by each secret, with spaces between: HMAC-SHA256 over id, time and body, version 1.
func (d *Deliverer) sign(id, timestamp string, body []byte) string {
	var signatures []string
	for _, secret := range d.config.Secrets {
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		_, _ = fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body) // a hash takes all that is written
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}

// refusal is an answer of the receiver that is no success.
type refusal struct {
	status int
	after  time.Duration // by its Retry-After; 0 without one
}

func (r refusal) Error() string {
	return fmt.Sprintf("the receiver answers %d %s", r.status, http.StatusText(r.status))
}

// retryAfter reads a Retry-After header (RFC 9110, 10.2.3): seconds or a date.
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
