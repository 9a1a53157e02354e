package etag

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"platform.example/apps/internal/problem"
)

func TestConditions(t *testing.T) {
	const invalid = -1
	for _, test := range []struct {
		name     string
		values   []string
		versions []int64 // of If-Match; nil: all
		modified int     // the status with If-None-Match for version 7: 200, 304 or invalid
	}{
		{"none", nil, nil, 200},
		{"any", []string{"*"}, nil, 304},
		{"any, with spaces", []string{" * "}, nil, 304},
		{"this version", []string{`"7"`}, []int64{7}, 304},
		{"another version", []string{`"8"`}, []int64{8}, 200},
		{"a list", []string{`"6", "7"`}, []int64{6, 7}, 304},
		{"a list without spaces", []string{`"6","7"`}, []int64{6, 7}, 304},
		{"a list with empty elements", []string{`, "6",, "7" ,`}, []int64{6, 7}, 304},
		{"a header that comes twice", []string{`"6"`, `"7"`}, []int64{6, 7}, 304},
		{"a weak tag", []string{`W/"7"`}, []int64{}, 304},
		{"a weak tag and a strong one", []string{`W/"6", "7"`}, []int64{7}, 304},
		{"not a version", []string{`"abc", "", "07", "+7", "7.0", "99999999999999999999"`}, []int64{}, 200},
		{"a comma in a tag", []string{`"6,7"`}, []int64{}, 200},
		{"characters beyond ASCII", []string{`"ä", "7"`}, []int64{7}, 304},

		{"nothing", []string{""}, nil, invalid},
		{"commas alone", []string{", ,"}, nil, invalid},
		{"no quotes", []string{"7"}, nil, invalid},
		{"one quote", []string{`"7`}, nil, invalid},
		{"a space in a tag", []string{`"7 8"`}, nil, invalid},
		{"no comma", []string{`"7" "8"`}, nil, invalid},
		{"a lower-case weak tag", []string{`w/"7"`}, nil, invalid},
		{"any and a tag", []string{`*, "7"`}, nil, invalid},
		{"any, twice", []string{"*", "*"}, nil, invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if test.values != nil {
				r.Header["If-Match"], r.Header["If-None-Match"] = test.values, test.values
			}
			malformed := func(err error) bool {
				failed, ok := errors.AsType[*problem.Error](err)
				return ok && failed.Code == problem.Malformed
			}

			versions, err := IfMatch(r)
			if malformed(err) != (test.modified == invalid) || !slices.Equal(versions, test.versions) || (versions == nil) != (test.versions == nil) {
				t.Errorf("If-Match allows %v, %v; want %v", versions, err, test.versions)
			}

			w := httptest.NewRecorder()
			done, err := NotModified(w, r, 7)
			if malformed(err) != (test.modified == invalid) {
				t.Fatalf("If-None-Match: %v", err)
			}
			if err == nil && (w.Code != test.modified || done != (w.Code == http.StatusNotModified) || w.Header().Get("ETag") != `"7"`) {
				t.Errorf("If-None-Match: status %d with %v, %t", w.Code, w.Header(), done)
			}
		})
	}
}

// A header is refused, or the returned versions have their tags in it; a weak tag allows no change.
func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{"*", `"7"`, `W/"7"`, `"6", "7"`, `, "6",, "7" ,`, `"6,7"`, `"7`, "", `"ä"`, `"\x00"`, `"-7"`, `W/W/"7"`, `"07"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		request := &http.Request{Header: http.Header{"If-Match": {header}, "If-None-Match": {header}}}
		versions, err := IfMatch(request)
		response := httptest.NewRecorder()
		same, failed := NotModified(response, request, 7)
		if (err == nil) != (failed == nil) || same != (response.Code == http.StatusNotModified) {
			t.Errorf("%q: %v as If-Match, %v as If-None-Match, %d", header, err, failed, response.Code)
		}
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != problem.Malformed {
				t.Errorf("%q fails with %v", header, err)
			}
			return
		}
		if (versions == nil) != (strings.TrimSpace(header) == "*") {
			t.Errorf("%q allows %v", header, versions)
		}
		for _, version := range versions {
			if strings.Count(header, format(version)) == strings.Count(header, "W/"+format(version)) {
				t.Errorf("%q allows %d", header, version)
			}
		}
	})
}
