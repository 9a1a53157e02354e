// Package etag sends the version of a resource as an entity tag and evaluates conditional requests (RFC 9110,
// 8.8.3 and 13.1).
package etag

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"platform.example/apps/internal/problem"
)

const tag = `(?:W/)?"[^"\x00-\x20\x7f]*"`

var (
	one  = regexp.MustCompile(tag)
	list = regexp.MustCompile(`^[ \t,]*` + tag + `(?:[ \t]*,[ \t,]*` + tag + `)*[ \t,]*$`)
)

// Set sets the ETag header of a response to version.
func Set(w http.ResponseWriter, version int64) { w.Header().Set("Etag", format(version)) }

func format(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// NotModified sets the ETag header to version. If the client's If-None-Match matches it, NotModified responds
// with 304 and returns true.
func NotModified(w http.ResponseWriter, r *http.Request, version int64) (bool, error) {
	versions, every, err := read(r, "If-None-Match")
	if err != nil {
		return false, err
	}
	Set(w, version)
	same := every || slices.Contains(versions, version)
	if same {
		w.WriteHeader(http.StatusNotModified)
	}
	return same, nil
}

// IfMatch returns the versions in the If-Match header of a request; nil allows every version.
func IfMatch(r *http.Request) ([]int64, error) {
	versions, _, err := read(r, "If-Match")
	return versions, err
}

// Failed returns the error of a request whose If-Match doesn't match the version of the resource.
func Failed() error {
	return problem.New(problem.PreconditionFailed, "The version of the resource does not match If-Match.", nil)
}

// read returns the versions in a header. They are nil without the header, and for *, for which every is true.
// A weak tag matches only in If-None-Match.
func read(r *http.Request, header string) (versions []int64, every bool, err error) {
	values := r.Header.Values(header)
	text := strings.TrimSpace(strings.Join(values, ","))
	if values == nil || text == "*" {
		return nil, text == "*", nil
	}
	if !list.MatchString(text) {
		return nil, false, problem.New(problem.Malformed, header+` must be * or entity tags such as "7", separated by commas.`, nil)
	}
	versions = []int64{}
	for _, tag := range one.FindAllString(text, -1) {
		if header == "If-None-Match" {
			tag = strings.TrimPrefix(tag, "W/")
		}
		if version, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64); err == nil && tag == format(version) {
			versions = append(versions, version)
		}
	}
	return versions, false, nil
}
