// Package etag sends the version of a resource as an entity tag and evaluates conditional requests (RFC 9110,
// 8.8.3 and 13.1).
package etag

import (
	"fmt"
	"hash/crc32"
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
	own  = regexp.MustCompile(`^"([1-9][0-9]*)(?:-[0-9a-f]{8})?"$`)
)

// Set sets the ETag header of the response to r: the tag of version.
func Set(w http.ResponseWriter, r *http.Request, version int64) {
	w.Header().Set("Etag", format(r, version))
}

// format returns the tag of a version. The edge chooses the encoding of the response by Accept-Encoding alone,
// so a tag with a hash of that header is strong: it stands for one encoding.
func format(r *http.Request, version int64) string {
	text := `"` + strconv.FormatInt(version, 10)
	if accepted := strings.Join(r.Header["Accept-Encoding"], ","); accepted != "" && accepted != "identity" {
		text += fmt.Sprintf("-%08x", crc32.ChecksumIEEE([]byte(accepted)))
	}
	return text + `"`
}

// NotModified sets the ETag header to the tag of version. If the client's If-None-Match matches it, NotModified
// responds with 304 and returns true.
func NotModified(w http.ResponseWriter, r *http.Request, version int64) (bool, error) {
	tags, every, err := read(r, "If-None-Match")
	if err != nil {
		return false, err
	}
	current := format(r, version)
	w.Header().Set("Etag", current)
	same := every || slices.ContainsFunc(tags, func(tag string) bool { return strings.TrimPrefix(tag, "W/") == current })
	if same {
		w.WriteHeader(http.StatusNotModified)
	}
	return same, nil
}

// IfMatch returns the versions in the If-Match header of a request; nil allows every version. The encoding in
// which the client got a version makes no difference; a weak tag allows nothing.
func IfMatch(r *http.Request) (versions []int64, err error) {
	tags, _, err := read(r, "If-Match")
	if tags != nil {
		versions = []int64{}
	}
	for _, tag := range tags {
		if found := own.FindStringSubmatch(tag); found != nil {
			if version, err := strconv.ParseInt(found[1], 10, 64); err == nil {
				versions = append(versions, version)
			}
		}
	}
	return versions, err
}

// Failed returns the error of a request whose If-Match doesn't match the version of the resource.
func Failed() error {
	return problem.New(problem.PreconditionFailed, "The version of the resource does not match If-Match.", nil)
}

// read returns the tags in a header. They are nil without the header, and for *, for which every is true.
func read(r *http.Request, header string) (tags []string, every bool, err error) {
	values := r.Header.Values(header)
	text := strings.TrimSpace(strings.Join(values, ","))
	if values == nil || text == "*" {
		return nil, text == "*", nil
	}
	if !list.MatchString(text) {
		return nil, false, problem.New(problem.Malformed, header+` must be * or entity tags such as "7", separated by commas.`, nil)
	}
	return one.FindAllString(text, -1), false, nil
}
