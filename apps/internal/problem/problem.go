// Package problem defines the errors of the services. Mapper turns any error into a response (RFC 9457,
// application/problem+json). The cause of an error is only logged, never sent.
package problem

import (
	"cmp"
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

// Code identifies the kind of a problem for programs.
type Code string

// The codes. Each has one HTTP status.
const (
	Malformed            Code = "malformed"
	Unauthenticated      Code = "unauthenticated"
	Forbidden            Code = "forbidden"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	Conflict             Code = "conflict"
	PreconditionFailed   Code = "precondition_failed"
	TooLarge             Code = "too_large"
	UnsupportedMediaType Code = "unsupported_media_type"
	Invalid              Code = "invalid"
	TooManyRequests      Code = "too_many_requests"
	Internal             Code = "internal"
	BadGateway           Code = "bad_gateway"
	Unavailable          Code = "unavailable"
	Timeout              Code = "timeout"
)

var statuses = map[Code]int{
	Malformed:            http.StatusBadRequest,
	Unauthenticated:      http.StatusUnauthorized,
	Forbidden:            http.StatusForbidden,
	NotFound:             http.StatusNotFound,
	MethodNotAllowed:     http.StatusMethodNotAllowed,
	Conflict:             http.StatusConflict,
	PreconditionFailed:   http.StatusPreconditionFailed,
	TooLarge:             http.StatusRequestEntityTooLarge,
	UnsupportedMediaType: http.StatusUnsupportedMediaType,
	Invalid:              http.StatusUnprocessableEntity,
	TooManyRequests:      http.StatusTooManyRequests,
	BadGateway:           http.StatusBadGateway,
	Unavailable:          http.StatusServiceUnavailable,
	Timeout:              http.StatusGatewayTimeout,
}

func (c Code) status() int { return cmp.Or(statuses[c], http.StatusInternalServerError) }

// Error is a failure in the form that the client may see, with its cause.
type Error struct {
	Code       Code
	Sentence   string        // for people; contains nothing that the client may not know
	Fields     []Field       // the invalid fields of the body, if the code is Invalid
	RetryAfter time.Duration // when to try again; 0 if that makes no difference or isn't known
	Header     http.Header   // additional headers of the response; may be nil
	Cause      error         // for the log only; may be nil
}

// Field describes what is wrong with one field of the body.
type Field struct {
	Pointer string `json:"pointer"` // JSON Pointer, RFC 6901
	Detail  string `json:"detail"`
}

// Faults collects the invalid fields of a body.
type Faults []Field

// Add adds a fault. pointer is a JSON Pointer.
func (f *Faults) Add(pointer, detail string) {
	*f = append(*f, Field{Pointer: pointer, Detail: detail})
}

// Err returns an Error with all faults, or nil if there are none.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Code: Invalid, Sentence: "Some fields are not valid.", Fields: f}
}

// New returns an Error; cause may be nil.
func New(code Code, sentence string, cause error) *Error {
	return &Error{Code: code, Sentence: sentence, Cause: cause}
}

// Error returns the whole chain of causes: for logs, not for clients.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Sentence
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// statusClientGone is nginx's status for a client that left before the response. Nobody receives it, but it
// separates such requests from failures in metrics and logs.
const statusClientGone = 499

const mediaType = "application/problem+json"

// retryAfter is the Retry-After of a 503 without a RetryAfter of its own. It is short because most outages
// here (a full pool, a restart) are short.
const retryAfter = time.Second

// Mapper sends and logs the errors of an API's handlers.
type Mapper struct{ Log *slog.Logger }

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
	m.Log.LogAttrs(ctx, level, "request failed",
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
