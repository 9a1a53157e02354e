package problem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"platform.example/apps/internal/requestid"
)

// statusClientGone is nginx's status for a client that left before the response. Nobody receives it, but it
// separates such requests from failures in metrics and logs.
const statusClientGone = 499

const mediaType = "application/problem+json"

// retryAfter is the Retry-After of a 503 without a RetryAfter of its own. It is short because most outages
// here (a full pool, a restart) are short.
const retryAfter = time.Second

// Mapper sends and logs the errors of an API's handlers.
type Mapper struct {
	log *slog.Logger
}

// NewMapper returns a Mapper that logs to log.
func NewMapper(log *slog.Logger) *Mapper { return &Mapper{log: log} }

// Handle returns a handler that sends the error of handle. handle must not have written to the response when
// it returns an error.
func (m *Mapper) Handle(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			m.Write(w, r, err)
		}
	}
}

// Recover turns a panic of next into an internal error.
func (m *Mapper) Recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(value) // net/http closes the connection
			}
			err := fmt.Errorf("panic: %v\n%s", value, debug.Stack())
			if response, ok := w.(middleware.WrapResponseWriter); ok && response.Status() != 0 {
				// The response has begun: abort it, so that the client doesn't take it for complete.
				m.record(r.Context(), classify(err), err)
				panic(http.ErrAbortHandler)
			}
			m.Write(w, r, err)
		}()
		next.ServeHTTP(w, r)
	})
}

// body is the JSON form of a problem. It has no type: RFC 9457 then defines it as about:blank.
type body struct {
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Code      Code    `json:"code"`
	Detail    string  `json:"detail,omitempty"`
	RequestID string  `json:"request_id,omitempty"`
	Errors    []Field `json:"errors,omitempty"`
}

// Read returns the Error in the response of another service, or nil if the response contains no problem or an
// internal error.
func Read(response *http.Response, content []byte) error {
	var b body
	isProblem := response.Header.Get("Content-Type") == mediaType && json.Unmarshal(content, &b) == nil
	if !isProblem || b.Code == "" || statuses[b.Code] != response.StatusCode {
		return nil
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return &Error{Code: b.Code, Sentence: b.Detail, Fields: b.Errors, RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second}
}

// Write sends err as a problem and logs it. If the client has left, it only sets the status 499.
func (m *Mapper) Write(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(context.Cause(r.Context()), context.Canceled) {
		w.WriteHeader(statusClientGone)
		return
	}
	p := classify(err)
	status := p.Code.status()
	m.record(r.Context(), p, err)

	h := w.Header()
	maps.Copy(h, p.Header)
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	if p.Code == Unauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	wait := p.RetryAfter
	if p.Code == Unavailable {
		wait = max(wait, retryAfter)
	}
	if wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body{ // fails only if the client has left
		Title: http.StatusText(status), Status: status, Code: p.Code, Detail: p.Sentence,
		RequestID: requestid.From(r.Context()), Errors: p.Fields,
	})
}

func (m *Mapper) record(ctx context.Context, p *Error, err error) {
	level := slog.LevelDebug
	if p.Code.status() >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	m.log.LogAttrs(ctx, level, "request failed",
		slog.String("code", string(p.Code)), slog.String("cause", err.Error()))
}

// classify returns the Error in err's chain, or the Error that corresponds to err.
func classify(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return New(TooLarge, fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit), err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(Unavailable, "The response took too long.", err)
	}
	return New(Internal, "Something went wrong on our side.", err)
}
