package etag

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
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
		{"not a tag of a version", []string{`"7-", "7-abc", "7-0123456g", "7-0123456789", "-7"`}, []int64{}, 200},
		{"a tag of another encoding", []string{`"7-01234567", W/"8-01234567"`}, []int64{7}, 200},
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

// The edge compresses a response as Accept-Encoding allows: each of its forms needs its own strong tag (RFC 9110, 8.8.3.3). All
// tags of a version allow a change.
func TestTagsDifferByEncoding(t *testing.T) {
	encodings := [][]string{nil, {"gzip"}, {"br"}, {"gzip, br"}, {"br", "gzip"}, {"gzip;q=0, br"}, {"*"}}
	request := func(accepted []string, conditions ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Accept-Encoding"], r.Header["If-Match"], r.Header["If-None-Match"] = accepted, conditions, conditions
		return r
	}
	tagOf := func(accepted []string) string {
		w := httptest.NewRecorder()
		Set(w, request(accepted), 7)
		return w.Header().Get("ETag")
	}
	seen := map[string]bool{}
	for i, accepted := range encodings {
		tag := tagOf(accepted)
		if seen[tag] {
			t.Errorf("%q has the tag of another encoding: %s", accepted, tag)
		}
		seen[tag] = true
		for j, other := range encodings {
			if versions, err := IfMatch(request(other, tag)); err != nil || !slices.Equal(versions, []int64{7}) {
				t.Errorf("If-Match: %s with %q allows %v, %v", tag, other, versions, err)
			}
			for _, condition := range []string{tag, "W/" + tag} {
				w := httptest.NewRecorder()
				if same, err := NotModified(w, request(other, condition), 7); err != nil || same != (i == j) || w.Header().Get("ETag") != tagOf(other) {
					t.Errorf("If-None-Match: %s with %q: %t, %v, %v", condition, other, same, err, w.Header())
				}
			}
		}
	}
	for _, uncompressed := range [][]string{{"identity"}, {""}} {
		if tag := tagOf(uncompressed); tag != `"7"` {
			t.Errorf("%q has the tag %s", uncompressed, tag)
		}
	}
}

// A header is refused, or the returned versions have their tags in it; a weak tag allows no change.
func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{"*", `"7"`, `W/"7"`, `"6", "7"`, `, "6",, "7" ,`, `"6,7"`, `"7`, "", `"ä"`, `"\x00"`, `"-7"`, `"7-0123abcd"`, `"7-x"`, `W/W/"7"`, `"07"`} {
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
			begin := `"` + strconv.FormatInt(version, 10)
			if strings.Count(header, begin) == strings.Count(header, "W/"+begin) {
				t.Errorf("%q allows %d", header, version)
			}
		}
	})
}
