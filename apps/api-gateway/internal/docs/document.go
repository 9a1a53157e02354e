// Package docs is the description of the public API: an OpenAPI 3.1 document, which
// a test holds against the running services, and a page that shows it to people.
package docs

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// base is the document without paths and schemas.
//
//go:embed base.json
var base []byte

//go:embed schemas.json
var schemas []byte

// Statuses are those of all errors that the operation may answer, and what each means.
func (o Operation) Statuses() map[int]string {
	errors := map[int]string{http.StatusBadRequest: "The query string is malformed."}
	if o.Service != "" {
		errors[http.StatusTooManyRequests] = "Too many requests of yours: come again later."
		errors[http.StatusBadGateway] = o.Service + " gave no valid answer."
		errors[http.StatusServiceUnavailable] = o.Service + " is not available right now: come again."
		errors[http.StatusGatewayTimeout] = o.Service + " did not answer within 5 seconds."
	}
	if o.Access != Anyone {
		errors[http.StatusUnauthorized] = "There is no access token, or it isn't good."
	}
	if o.Access == Admins {
		errors[http.StatusForbidden] = "You are no admin."
	}
	if o.Body != "" {
		errors[http.StatusBadRequest] += " Or the body is no JSON object, or has an unknown field, one twice, or one of the wrong type."
		errors[http.StatusRequestEntityTooLarge] = "The body has more than 64 KiB."
		errors[http.StatusUnsupportedMediaType] = "The Content-Type isn't application/json, or there is a Content-Encoding."
		errors[http.StatusUnprocessableEntity] = "Some fields are not valid."
	}
	for _, p := range o.Parameters {
		switch p.In {
		case "path":
			errors[http.StatusNotFound] = "There is nothing with this id, or it isn't yours."
		case "query":
			errors[http.StatusBadRequest] = "The query string is malformed, or a parameter isn't valid."
		case "header":
			errors[http.StatusBadRequest] += " Or the " + p.Name + " is missing or malformed."
		}
	}
	maps.Copy(errors, o.Errors)
	if o.Path == "/health" {
		errors[http.StatusServiceUnavailable] = "It is about to stop."
	}
	return errors
}

// object is a JSON object.
type object = map[string]any

// Document is the OpenAPI document.
func Document() ([]byte, error) {
	var document, defined object
	if err := errors.Join(json.Unmarshal(base, &document), json.Unmarshal(schemas, &defined)); err != nil {
		return nil, fmt.Errorf("reading the description of the API: %w", err)
	}
	paths := map[string]object{}
	for _, o := range Operations() {
		if paths[o.Path] == nil {
			paths[o.Path] = object{}
		}
		paths[o.Path][strings.ToLower(o.Method)] = o.describe()
	}
	document["paths"], document["components"].(object)["schemas"] = paths, defined
	raw, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the description of the API: %w", err)
	}
	return append(raw, '\n'), nil
}

func (o Operation) describe() object {
	described := object{
		"operationId": o.id(), "tags": []any{o.Tag}, "summary": o.Summary,
		"description": strings.TrimSpace(o.Description + "\n\nWho may: " + string(o.Access)),
		"responses":   o.responses(), "security": []any{},
	}
	if o.Access != Anyone {
		described["security"] = []any{object{"token": []any{}}}
	}
	if len(o.Parameters) > 0 {
		var parameters []any
		for _, p := range o.Parameters {
			parameters = append(parameters, p.describe())
		}
		described["parameters"] = parameters
	}
	if o.Body != "" {
		described["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": ref(o.Body)}}}
	}
	return described
}

// id is such as postOrdersIdCancel.
func (o Operation) id() string {
	id := strings.ToLower(o.Method)
	for word := range strings.FieldsFuncSeq(strings.TrimPrefix(o.Path, "/api"), func(r rune) bool { return strings.ContainsRune("/{}.-", r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

func (p Parameter) describe() object {
	described := object{"name": p.Name, "in": p.In, "required": p.Required, "description": p.Description, "schema": p.Schema}
	if p.Example != "" {
		described["example"] = p.Example
	}
	return described
}

func (o Operation) responses() object {
	success := object{"description": http.StatusText(o.Status), "headers": headerRefs(o.Headers...)}
	switch {
	case o.Answer == "Keys":
		success["content"] = object{"application/jwk-set+json": object{"schema": ref(o.Answer)}}
	case o.Answer != "":
		success["content"] = object{"application/json": object{"schema": ref(o.Answer)}}
	case o.Path == "/openapi.json":
		success["content"] = object{"application/json": object{"schema": object{"type": "object"}}}
	case o.Path == "/docs":
		success["content"] = object{"text/html": object{"schema": object{"type": "string"}}}
	}
	responses := object{strconv.Itoa(o.Status): success}
	if slices.ContainsFunc(o.Parameters, func(p Parameter) bool { return p.Name == "If-None-Match" }) {
		responses["304"] = object{"description": "You have this version already.", "headers": headerRefs("ETag")}
	}
	errors := o.Statuses()
	for _, status := range slices.Sorted(maps.Keys(errors)) {
		var more []string
		switch status {
		case http.StatusUnauthorized:
			more = []string{"WWW-Authenticate"}
		case http.StatusTooManyRequests:
			more = []string{"Retry-After", "RateLimit", "RateLimit-Policy"}
		case http.StatusServiceUnavailable:
			more = []string{"Retry-After"}
		}
		answer := object{
			"description": strings.TrimSpace(errors[status]), "headers": headerRefs(more...),
			"content": object{"application/problem+json": object{"schema": ref("Problem")}},
		}
		if o.Path == "/health" && status == http.StatusServiceUnavailable {
			answer["content"] = object{"application/json": object{"schema": ref("Health")}}
		}
		responses[strconv.Itoa(status)] = answer
	}
	if o.Path == "/health" { // asked so often that it goes past what gives ids
		for _, answer := range responses {
			answer.(object)["headers"] = object{"Server-Timing": headerRefs()["Server-Timing"]}
		}
	}
	return responses
}

func headerRefs(names ...string) object {
	refs := object{}
	for _, name := range append([]string{"X-Request-Id", "Server-Timing"}, names...) {
		refs[name] = object{"$ref": "#/components/headers/" + name}
	}
	return refs
}
