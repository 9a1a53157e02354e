package cache

import (
	"encoding/json"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/identity"
	"platform.example/apps/user-service/internal/user"
)

func TestEntryDecodesToTheSameEntry(t *testing.T) {
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
			// The script in Redis and the previous release parse it as JSON.
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

func TestUserWithMissingFieldIsIncomplete(t *testing.T) {
	e, err := newEntry(user.User{ID: uuid.New(), Version: 7})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := decode(e.encode()); !ok || !got.complete() {
		t.Errorf("a user of this version is %+v, %t", got, ok)
	}
	var former map[string]any
	if err := json.Unmarshal(e.user, &former); err != nil {
		t.Fatal(err)
	}
	for field := range former {
		lacking := maps.Clone(former)
		delete(lacking, field)
		if e.user, err = json.Marshal(lacking); err != nil {
			t.Fatal(err)
		}
		if got, ok := decode(e.encode()); !ok || got.complete() || got.version != 7 {
			t.Errorf("without %s: %+v, %t", field, got, ok)
		}
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
		// "+7" and "007" are parsed as numbers, too.
		if again, ok := decode(e.encode()); !ok || !reflect.DeepEqual(again, e) {
			t.Errorf("%s is %+v, and that is read as %+v", raw, e, again)
		}
		if e.complete() && e.absent == (e.user != nil) {
			t.Errorf("%s is both or neither: %+v", raw, e)
		}
	})
}
