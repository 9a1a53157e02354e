package cache

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/user-service/internal/user"
)

func TestAnEntryIsReadAsItWasWritten(t *testing.T) {
	known, err := newEntry(user.User{
		ID: uuid.New(), Email: "a@example.com", Name: `Ada "},"absent":true}`, Role: identity.Admin, CreatedAt: time.Now(), Version: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*entry{
		"a user": known, "an absence": {absent: true}, "the mark of a write": {version: 8}, "of a deletion": {version: Deleted},
	} {
		t.Run(name, func(t *testing.T) {
			raw := e.encode()
			if got, ok := decode(raw); !ok || !reflect.DeepEqual(&got, e) {
				t.Errorf("%s is read as %+v, %t", raw, got, ok)
			}
			// The script in Redis, and the release before this one, read it as JSON.
			var asJSON struct {
				Version int64
				User    json.RawMessage
				Absent  bool
			}
			if err := json.Unmarshal(raw, &asJSON); err != nil || asJSON.Version != e.version ||
				string(asJSON.User) != string(e.user) || asJSON.Absent != e.absent {
				t.Errorf("%s is, as JSON, %+v, %v", raw, asJSON, err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"version":7,"user":{"id":"x"}}`, `{"version":0,"absent":true}`, `{"version":8}`,
		`{"version":7,"user":{"id":"x"}`, `{"version":,}`, `{"version":7,"user":}`, `{"version":7,"user":null}`, ``, `{}`, `null`, `not JSON`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, ok := decode(raw)
		if !ok {
			return
		}
		// "+7" and "007" are read as numbers too; that is all there is to lose.
		if again, ok := decode(e.encode()); !ok || !reflect.DeepEqual(again, e) {
			t.Errorf("%s is %+v, and that is read as %+v", raw, e, again)
		}
		if e.answers() && e.absent == (e.user != nil) {
			t.Errorf("%s is both or neither: %+v", raw, e)
		}
	})
}
