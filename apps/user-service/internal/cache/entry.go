package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"sync"

	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/user"
)

// entry is the value of a key. It contains a user, or states that the user doesn't exist (absent), or is the
// mark of a write: older versions than version are outdated.
//
// Its forms in Redis are
//
//	{"version":7,"user":{…}}
//	{"version":0,"absent":true}
//	{"version":8}
//
// The user is the JSON of the response: decoding and encoding it again would double the cost of a hit.
type entry struct {
	version int64
	user    json.RawMessage
	absent  bool
}

func newEntry(u user.User) (*entry, error) {
	raw, err := json.Marshal(u)
	if err != nil {
		return nil, fmt.Errorf("encoding a user: %w", err)
	}
	return &entry{version: u.Version, user: raw}, nil
}

const (
	versionField = `{"version":`
	userField    = `,"user":`
	absentField  = `,"absent":true`
)

func (e *entry) encode() []byte {
	raw := strconv.AppendInt([]byte(versionField), e.version, 10)
	if e.user != nil {
		raw = append(append(raw, userField...), e.user...)
	}
	if e.absent {
		raw = append(raw, absentField...)
	}
	return append(raw, '}')
}

// decode reverses encode. It returns false if raw is malformed.
func decode(raw []byte) (e entry, ok bool) {
	rest, begins := bytes.CutPrefix(raw, []byte(versionField))
	rest, ends := bytes.CutSuffix(rest, []byte("}"))
	if !begins || !ends {
		return entry{}, false
	}
	version, content := rest, []byte(nil)
	if i := bytes.IndexByte(rest, ','); i >= 0 {
		version, content = rest[:i], rest[i:]
	}
	var err error
	if e.version, err = strconv.ParseInt(string(version), 10, 64); err != nil {
		return entry{}, false
	}
	switch u, isUser := bytes.CutPrefix(content, []byte(userField)); {
	case isUser && len(u) > 0 && u[0] == '{':
		if hasAllFields(u) {
			e.user = u
		}
	case string(content) == absentField:
		e.absent = true
	case len(content) > 0:
		return entry{}, false
	}
	return e, true
}

// hasAllFields reports whether u has all fields of a user. The previous release may have cached users with
// fewer fields.
func hasAllFields(u []byte) bool {
	for _, field := range fields() {
		if !bytes.Contains(u, field) {
			return false
		}
	}
	return true
}

// fields returns the JSON keys of a user, such as "name":.
var fields = sync.OnceValue(func() (names [][]byte) {
	for f := range reflect.TypeFor[user.User]().Fields() {
		names = append(names, []byte(strconv.Quote(f.Tag.Get("json"))+":"))
	}
	return names
})

// complete reports whether the entry contains a user or states that there is none.
func (e *entry) complete() bool { return e.absent || e.user != nil }

func (e *entry) result() (json.RawMessage, error) {
	if e.absent {
		return nil, problem.New(problem.NotFound, "There is no such user.", nil)
	}
	return e.user, nil
}
