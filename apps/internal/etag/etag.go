// Package etag tells clients the version of a resource as an entity tag, and holds
// their requests to the versions that they name (RFC 9110, 8.8.3 and 13.1).
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

// Set tells the version with an answer.
func Set(w http.ResponseWriter, version int64) { w.Header().Set("Etag", of(version)) }

func of(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// NotModified sets the tag of a version. Where the client's If-None-Match names that
// version, it answers 304 and reports true.
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

// IfMatch returns the versions that a request may change; nil allows all.
func IfMatch(r *http.Request) ([]int64, error) {
	versions, _, err := read(r, "If-Match")
	return versions, err
}

// Failed returns the error of a request whose If-Match names no version of the resource.
func Failed() error {
	return problem.New(problem.PreconditionFailed, "It has another version than those that If-Match names.", nil)
}

// read returns the versions that a header names. They are nil where there is no such
// header, and where it is *: then every is true. A weak tag counts for If-None-Match alone.
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
		if version, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64); err == nil && tag == of(version) {
			versions = append(versions, version)
		}
	}
	return versions, false, nil
}
