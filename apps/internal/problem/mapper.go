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

// statusClientGone is nginx's status for a client that left before its answer:
// nobody reads it, but metrics and logs tell it from a failure of ours.
const statusClientGone = 499

const mediaType = "application/problem+json"

// retryAfter is said with every 503 that doesn't know better. Short, because
// what is unavailable here (a pool, a restart) usually is so for a moment.
const retryAfter = time.Second

// Mapper answers, and logs, every error that reaches the API's edge.
type Mapper struct {
	log *slog.Logger
}

// NewMapper returns a Mapper that logs to log.
func NewMapper(log *slog.Logger) *Mapper { return &Mapper{log: log} }

// Handle makes a handler of a function that may fail. The function must not
// have begun its answer when it returns an error.
func (m *Mapper) Handle(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := handle(w, r); err != nil {
			m.Write(w, r, err)
		}
	}
}

// Recover answers a panic with an internal error and keeps the process alive.
func (m *Mapper) Recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(value) // net/http's own way to cut the connection
			}
			err := fmt.Errorf("panic: %v\n%s", value, debug.Stack())
			if answer, ok := w.(middleware.WrapResponseWriter); ok && answer.Status() != 0 {
				// Too late for another answer: the client must not take half of one for whole.
				m.record(r.Context(), classify(err), err)
				panic(http.ErrAbortHandler)
			}
			m.Write(w, r, err)
		}()
		next.ServeHTTP(w, r)
	})
}

// body is the wire form. The type is left out: RFC 9457 then reads it as
// about:blank, meaning that status and code say it all.
type body struct {
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Code      Code    `json:"code"`
	Detail    string  `json:"detail,omitempty"`
	RequestID string  `json:"request_id,omitempty"`
	Errors    []Field `json:"errors,omitempty"`
}

// Read returns the Error in the response of another service; nil if the response holds none, or an internal error.
func Read(response *http.Response, content []byte) error {
	var b body
	isProblem := response.Header.Get("Content-Type") == mediaType && json.Unmarshal(content, &b) == nil
	if !isProblem || b.Code == "" || statuses[b.Code] != response.StatusCode {
		return nil
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	return &Error{Code: b.Code, Sentence: b.Detail, Fields: b.Errors, RetryAfter: time.Duration(min(max(seconds, 0), 3600)) * time.Second}
}

// Write answers err.
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
	_ = json.NewEncoder(w).Encode(body{ // a client that left is no fault of ours
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

// classify finds the Error in err's chain, or the one that err amounts to.
func classify(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return New(TooLarge, fmt.Sprintf("The body is larger than %d bytes.", tooLarge.Limit), err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(Unavailable, "The answer took too long.", err)
	}
	return New(Internal, "Something went wrong on our side.", err)
}
