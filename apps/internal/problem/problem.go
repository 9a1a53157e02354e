// Package problem is how services fail: one error type, and one Mapper at the
// edge that turns any error into an answer (RFC 9457, application/problem+json).
// The cause of an error is for the operator's log and is never sent.
package problem

import (
	"cmp"
	"net/http"
	"time"
)

// Code is what a program that gets the answer decides by.
type Code string

// The codes there are. Each stands for one status.
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

// Error is a failure as the client may see it, and its cause.
type Error struct {
	Code       Code
	Sentence   string        // for people; holds nothing that the client may not know
	Fields     []Field       // what is wrong with the fields of a body that is Invalid
	RetryAfter time.Duration // when to come again; 0 where that makes no difference, or isn't known
	Header     http.Header   // further fields of the answer; may be nil
	Cause      error         // for the log only; may be nil
}

// Field is what is wrong with one field of the body.
type Field struct {
	Pointer string `json:"pointer"` // JSON Pointer, RFC 6901
	Detail  string `json:"detail"`
}

// Faults collects what is wrong with the fields of a body.
type Faults []Field

// Add adds a fault.
func (f *Faults) Add(pointer, detail string) {
	*f = append(*f, Field{Pointer: pointer, Detail: detail})
}

// Err returns an Error with all faults, or nil where there are none.
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

// Error holds the whole chain: it is for logs, not for clients.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + e.Sentence
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }
