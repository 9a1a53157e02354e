// Package docs is the description of the public API: an OpenAPI 3.1 document, which
// a test holds against the running services, and a page that shows it to people.
package docs

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

//go:embed schemas.json
var schemasJSON []byte

const (
	title        = "Platform API"
	introduction = "Sign in, place an order, and receive notifications of its progress. Bodies are JSON of at most 64 KiB; unknown and repeated fields are refused, and so is a Content-Encoding. HEAD is answered wherever GET is. " +
		"Every answer of the API has an X-Request-Id, and in Server-Timing who had a part in it. Errors are application/problem+json (RFC 9457). " +
		"Repeat what was answered 429 or 503 after Retry-After seconds. Any request may be answered 500, which is our fault."
)

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
			errors[http.StatusBadRequest] += " Or there isn't exactly one " + p.Name + "."
			errors[http.StatusUnprocessableEntity] += " Or the " + p.Name + " was used for something else."
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
	var schemas object
	if err := json.Unmarshal(schemasJSON, &schemas); err != nil {
		return nil, fmt.Errorf("reading the schemas of the API: %w", err)
	}
	paths := map[string]object{}
	for _, o := range Operations() {
		if paths[o.Path] == nil {
			paths[o.Path] = object{}
		}
		paths[o.Path][strings.ToLower(o.Method)] = o.describe()
	}
	raw, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": title, "version": "1", "description": introduction,
			"license": object{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers": []any{object{"url": "/"}},
		"tags":    tags(),
		"paths":   paths,
		"components": object{
			"schemas": schemas, "headers": headers(),
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
		},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the description of the API: %w", err)
	}
	return append(raw, '\n'), nil
}

func tags() (tags []object) {
	for _, tag := range [][2]string{
		{"Signing in", "Sessions and their tokens."}, {"Users", "Who signs in."}, {"Orders", "What users buy."},
		{"Notifications", "What users hear of their orders."}, {"About", "The API itself."},
	} {
		tags = append(tags, object{"name": tag[0], "description": tag[1]})
	}
	return tags
}

func headers() object {
	text := func(description string) object {
		return object{"description": description, "schema": object{"type": "string"}}
	}
	return object{
		"X-Request-Id": text("Yours, if you sent a good one, else a new one."),
		"Server-Timing": object{
			"description": "Who answers: the gateway, and the service behind it where that was asked, each with its colour and version.",
			"schema":      object{"type": "string", "pattern": `^[a-z-]+;desc="(blue|green|none) .+"$`},
		},
		"Location":             text("Where what was made can be read."),
		"Content-Disposition":  object{"description": "That it is a file.", "schema": object{"type": "string"}},
		"X-Cache":              object{"description": "Where the answer comes from.", "schema": object{"enum": []any{"hit", "miss"}}},
		"Idempotency-Replayed": object{"description": "There if the order was made before.", "schema": object{"const": "true"}},
		"WWW-Authenticate":     object{"description": "RFC 6750.", "schema": object{"const": "Bearer"}},
		"RateLimit":            object{"description": "The limit that was reached, and the seconds until it ends.", "schema": object{"type": "string", "pattern": `^"[a-z_]+";r=0;t=[0-9]+$`}},
		"RateLimit-Policy":     object{"description": "How many requests the limit takes in so many seconds.", "schema": object{"type": "string", "pattern": `^"[a-z_]+";q=[0-9]+;w=[0-9]+$`}},
		"Retry-After":          object{"description": "Seconds.", "schema": object{"type": "string", "pattern": "^[0-9]+$"}},
	}
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
