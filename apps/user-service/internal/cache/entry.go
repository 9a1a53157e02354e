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

// entry is what a key holds: a user; or, with no user, either that there is
// none (absent) or the mark of a write, which says that what is older than
// version is no longer true.
//
// In Redis it is one of
//
//	{"version":7,"user":{…}}
//	{"version":0,"absent":true}
//	{"version":8}
//
// The user is the very JSON that is answered: decoding and encoding it again
// would cost a hit as much as all the rest that is done to it.
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

// decode reads what encode wrote, and reports whether it did.
func decode(raw []byte) (e entry, ok bool) {
	rest, begins := bytes.CutPrefix(raw, []byte(versionField))
	rest, ends := bytes.CutSuffix(rest, []byte("}"))
	if !begins || !ends {
		return entry{}, false
	}
	version, held := rest, []byte(nil)
	if i := bytes.IndexByte(rest, ','); i >= 0 {
		version, held = rest[:i], rest[i:]
	}
	var err error
	if e.version, err = strconv.ParseInt(string(version), 10, 64); err != nil {
		return entry{}, false
	}
	switch u, isUser := bytes.CutPrefix(held, []byte(userField)); {
	case isUser && len(u) > 0 && u[0] == '{':
		if complete(u) {
			e.user = u
		}
	case string(held) == absentField:
		e.absent = true
	case len(held) > 0:
		return entry{}, false
	}
	return e, true
}

// complete reports whether u has all fields of a user: the version before has
// cached users as it knows them, which is no answer of this one.
func complete(u []byte) bool {
	for _, field := range fields() {
		if !bytes.Contains(u, field) {
			return false
		}
	}
	return true
}

// fields returns each field of a user as JSON has it: "name":.
var fields = sync.OnceValue(func() (names [][]byte) {
	for f := range reflect.TypeFor[user.User]().Fields() {
		names = append(names, []byte(strconv.Quote(f.Tag.Get("json"))+":"))
	}
	return names
})

// answers reports whether the entry says who the user is, or that there is none.
func (e *entry) answers() bool { return e.absent || e.user != nil }

func (e *entry) answer() (json.RawMessage, error) {
	if e.absent {
		return nil, problem.New(problem.NotFound, "There is no such user.", nil)
	}
	return e.user, nil
}
