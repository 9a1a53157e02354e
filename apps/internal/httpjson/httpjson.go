// Package httpjson decodes and encodes JSON bodies, strictly.
package httpjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"platform.example/apps/internal/problem"
)

// Decode decodes a body that must be one JSON object with known fields and nothing after it. If T has a
// method Validate, Decode calls it. The router limits the size of the body. Errors are *problem.Error or
// *http.MaxBytesError.
func Decode[T any](r *http.Request) (T, error) {
	var value T
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return value, problem.New(problem.UnsupportedMediaType, "The Content-Type must be application/json.", err)
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return value, err
		}
		return value, malformed("The body could not be read.", err)
	}
	// encoding/json would replace broken UTF-8 silently.
	if !utf8.Valid(raw) {
		return value, malformed("The body is not valid UTF-8.", nil)
	}
	// null would decode into an untouched value.
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return value, malformed("The body must be one JSON object.", nil)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&value); err != nil {
		return value, malformed(sentence(err), err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return value, malformed("The body must be one JSON object, with nothing after it.", nil)
	}
	err = checkKeys(json.NewDecoder(bytes.NewReader(raw)))
	if checked, ok := any(value).(interface{ Validate() error }); ok && err == nil {
		err = checked.Validate()
	}
	return value, err
}

// With returns a handler that decodes the body and calls handle. Its errors are those of Decode and of
// handle.
func With[T any](handle func(http.ResponseWriter, *http.Request, T) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := Decode[T](r)
		if err != nil {
			return err
		}
		return handle(w, r, body)
	}
}

// checkKeys refuses keys that encoding/json accepts: a key in upper case and a duplicate key. A proxy may
// read another value there.
func checkKeys(decoder *json.Decoder) error {
	token, err := decoder.Token()
	start, nested := token.(json.Delim)
	if err != nil || !nested {
		return err
	}
	seen := map[json.Token]bool{}
	for decoder.More() {
		if start == '{' {
			key, _ := decoder.Token() // a key: the body was decoded once
			name := fmt.Sprint(key)
			// All fields of the APIs have names in lower-case ASCII.
			if strings.ContainsFunc(name, func(r rune) bool { return r >= 'A' && r <= 'Z' || r >= utf8.RuneSelf }) {
				return malformed(fmt.Sprintf("The body has an unknown field: %+q.", name), nil)
			}
			if seen[name] {
				return malformed(fmt.Sprintf("The body has a field twice: %q.", name), nil)
			}
			seen[name] = true
		}
		if err := checkKeys(decoder); err != nil {
			return err
		}
	}
	_, err = decoder.Token()
	return err
}

// sentence describes a decoding error without the names of Go types.
func sentence(err error) string {
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("The field %q has the wrong type: %s.", wrongType.Field, wrongType.Value)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("The body is not valid JSON at byte %d.", syntax.Offset)
	}
	// encoding/json has no type for this one.
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return "The body has an unknown field: " + field + "."
	}
	return "The body is not valid JSON."
}

func malformed(sentence string, cause error) error {
	return problem.New(problem.Malformed, sentence, cause)
}

// Write sends value as JSON with the status.
func Write(w http.ResponseWriter, status int, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // fails only if the client has left
	return nil
}

// Respond sends value as JSON with the status. If err isn't nil, it sends nothing and returns err.
func Respond(w http.ResponseWriter, status int, value any, err error) error {
	if err != nil {
		return err
	}
	return Write(w, status, value)
}

// NoBody sends a response without a body. If err isn't nil, it sends nothing and returns err.
func NoBody(w http.ResponseWriter, status int, err error) error {
	if err == nil {
		w.WriteHeader(status)
	}
	return err
}
