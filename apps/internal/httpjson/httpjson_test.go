package httpjson

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"platform.example/apps/internal/problem"
)

type body struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

func request(contentType, raw string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(raw))
	r.Header.Set("Content-Type", contentType)
	return r
}

func TestDecode(t *testing.T) {
	for _, c := range []struct {
		name, contentType, raw string
		want                   string // "" means accepted
	}{
		{"an object", "application/json; charset=utf-8", ` {"name":"a","count":1} `, ""},
		{"another media type", "text/plain", `{}`, "The Content-Type must be application/json."},
		{"nothing", "application/json", "", "The body must be one JSON object."},
		{"an array", "application/json", "[]", "The body must be one JSON object."},
		{"an unknown field", "application/json", `{"nam":"a"}`, `The body has an unknown field: "nam".`},
		{"a wrong type", "application/json", `{"name":1}`, `The field "name" has the wrong type: number.`},
		{"a huge number", "application/json", `{"count":1e999}`, `The field "count" has the wrong type: number 1e999.`},
		{"half an object", "application/json", `{"name":`, "The body is not valid JSON."},
		{"no JSON", "application/json", `{name}`, "The body is not valid JSON at byte 2."},
		{"trailing data", "application/json", `{}x`, "The body must be one JSON object, with nothing after it."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Decode[body](request(c.contentType, c.raw))
			got := ""
			if p, ok := errors.AsType[*problem.Error](err); ok {
				got = p.Sentence
			}
			if got != c.want || (err == nil) != (c.want == "") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"name":"a","count":1}`)
	f.Add("{\"name\":\"\xff\"}")
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := Decode[body](request("application/json", raw)); err != nil {
			if _, ok := errors.AsType[*problem.Error](err); !ok {
				t.Errorf("%q: not an answer for a client: %v", raw, err)
			}
		}
	})
}
