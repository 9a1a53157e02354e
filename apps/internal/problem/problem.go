// Package problem defines the errors of the services. Mapper turns any error into a response (RFC 9457,
// application/problem+json). The cause of an error is only logged, never sent.
package problem

import (
	"cmp"
	"net/http"
	"time"
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
