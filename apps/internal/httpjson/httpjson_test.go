package httpjson

import (
	"encoding/json"
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
	Parts []part `json:"parts"`
}

type part struct {
	Task string `json:"task"`
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
		{"a key in capitals", "application/json", `{"NAME":"a"}`, `The body has an unknown field: "NAME".`},
		{"a key in both cases", "application/json", `{"name":"a","Name":"b"}`, `The body has an unknown field: "Name".`},
		{"a key with an escape", "application/json", `{"n\u0061me":"a"}`, ""},
		{"a key with KELVIN SIGN", "application/json", `{"parts":[{"tas\u212a":"a"}]}`, `The body has an unknown field: "tas\u212a".`},
		{"a key with LONG S", "application/json", `{"parts":[{"ta\u017fk":"a"}]}`, `The body has an unknown field: "ta\u017fk".`},
		{"a key twice", "application/json", `{"name":"a","count":1,"name":"a"}`, `The body has a field twice: "name".`},
		{"a key twice, once with an escape", "application/json", `{"name":"a","n\u0061me":"b"}`, `The body has a field twice: "name".`},
		{"a key twice, once as null", "application/json", `{"name":"a","name":null}`, `The body has a field twice: "name".`},
		{"a key twice further in", "application/json", `{"parts":[{},{"task":"a","task":"b"}]}`, `The body has a field twice: "task".`},
		{"a key of several objects", "application/json", `{"parts":[{"task":"a"},{"task":"b"}],"name":"task"}`, ""},
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

// validated is a body that checks itself.
type validated struct {
	A int `json:"a"`
	Z int `json:"z"`
}

var errNegative = errors.New("negative")

func (v validated) Validate() error {
	if v.A < 0 {
		return errNegative
	}
	return nil
}

func TestDecodeValidatesABodyWithValidKeys(t *testing.T) {
	for raw, want := range map[string]string{
		`{"a":1,"z":2}`:       "",
		`{"a":-1}`:            "negative",
		`{"a":-1,"a":-1}`:     "twice",
		`{"A":1}`:             "unknown field",
		`{"Z":1}`:             "unknown field",
		`{"a":1,"z":2,"Z":1}`: "unknown field",
	} {
		_, err := Decode[validated](request("application/json", raw))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", raw, err, want)
		}
	}
}

// An accepted body decodes to the same value with a case-sensitive decoder that uses the first of duplicate keys.
func FuzzDecode(f *testing.F) {
	f.Add(`{"name":"a","count":1}`)
	f.Add("{\"name\":\"\xff\"}")
	f.Add(`{"name":"a","NAME":"b"}`)
	f.Add(`{"name":"a","n\u0061me":"b"}`)
	f.Add(`{"parts":[{"tas\u212a":"a"},{"task":"a","task":null}]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Decode[body](request("application/json", raw))
		if err != nil {
			if _, ok := errors.AsType[*problem.Error](err); !ok {
				t.Errorf("%q: not a response for a client: %v", raw, err)
			}
			return
		}
		var exact map[string]any
		if err := json.Unmarshal([]byte(raw), &exact); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if name, _ := exact["name"].(string); name != got.Name || len(exact) > 3 {
			t.Errorf("%q is read as %+v and as %v", raw, got, exact)
		}
	})
}
