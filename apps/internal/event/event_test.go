package event

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
)

var created = Event{
	ID: uuid.MustParse("0190f3a0-0000-7000-8000-000000000001"), Type: OrderCreated,
	OccurredAt:  time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC),
	Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	Data: []byte(`{"id":"0190f3a0-0000-7000-8000-000000000002","user_id":"0190f3a0-0000-7000-8000-000000000003","status":"pending",` +
		`"total":1152921504606846976,"currency":"EUR","version":1}`),
}

// entry returns the fields as a Redis client returns them.
func entry(t testing.TB, e Event) map[string]any {
	t.Helper()
	fields := Orders.Fields(e)
	read := map[string]any{}
	for i := 0; i < len(fields); i += 2 {
		read[fields[i].(string)] = fields[i+1]
	}
	return read
}

func TestFieldsParseToTheSameEvent(t *testing.T) {
	got, err := Orders.Parse(entry(t, created))
	if err != nil || !reflect.DeepEqual(got, created) {
		t.Errorf("got %+v, %v", got, err)
	}
	want := Order{
		ID: uuid.MustParse("0190f3a0-0000-7000-8000-000000000002"), UserID: uuid.MustParse("0190f3a0-0000-7000-8000-000000000003"),
		Status: "pending", Total: 1 << 60, Currency: "EUR", Version: 1,
	}
	if o, err := Data[Order](got); err != nil || o != want {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestParseRefusesInvalidEvents(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"no id":           {fieldID: nil},
		"a broken id":     {fieldID: "1"},
		"no type":         {fieldType: ""},
		"no time":         {fieldOccurredAt: "yesterday"},
		"no order":        {"order": ""},
		"an empty order":  {"order": "{}"},
		"a total too big": {"order": `{"id":"0190f3a0-0000-7000-8000-000000000002","user_id":"0190f3a0-0000-7000-8000-000000000003","total":1e40}`},
		"another type":    {"order": 7},
	} {
		t.Run(name, func(t *testing.T) {
			fields := entry(t, created)
			maps.Copy(fields, change)
			if got, err := Orders.Parse(fields); err == nil {
				if o, err := Data[Order](got); err == nil {
					t.Errorf("read as %+v of %+v", got, o)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	fields := entry(f, created)
	f.Add(fields[fieldID].(string), fields[fieldType].(string), fields[fieldOccurredAt].(string), fields["order"].(string))
	f.Fuzz(func(t *testing.T, id, kind, at, order string) {
		got, err := Orders.Parse(map[string]any{fieldID: id, fieldType: kind, fieldOccurredAt: at, "order": order})
		if err != nil {
			return
		}
		if again, err := Orders.Parse(entry(t, got)); err != nil || again.ID != got.ID || !bytes.Equal(again.Data, got.Data) || !again.OccurredAt.Equal(got.OccurredAt) {
			t.Errorf("%+v becomes %+v, %v", got, again, err)
		}
	})
}

// Decoded data has a subject, and encodes and decodes to the same data.
func FuzzData(f *testing.F) {
	for _, seed := range []string{"", "{}", "null", `{"id":"0190f3a0-0000-7000-8000-000000000001"}`, `{"id":""}`, `{"id":1}`, `{"ID":"0190f3a0-0000-7000-8000-000000000001","total":1e3}`,
		`{"id":"0190f3a0-0000-7000-8000-000000000001","user_id":"0190f3a0-0000-7000-8000-000000000002","status":"paid","total":9223372036854775807,"currency":"EUR","version":2}`,
		`{"id":"0190f3a0-0000-7000-8000-000000000001","email":"a@example.com","secret":"S"}`, `[{"id":"0190f3a0-0000-7000-8000-000000000001"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if o, err := Data[Order](Event{Data: raw}); err == nil {
			again := mustRead[Order](t, o)
			if o.ID == uuid.Nil || again != o {
				t.Errorf("%q is read as %+v, and then as %+v", raw, o, again)
			}
		}
		if u, err := Data[User](Event{Data: raw}); err == nil {
			again := mustRead[User](t, u)
			if u.ID == uuid.Nil || again != u {
				t.Errorf("%q is read as %+v, and then as %+v", raw, u, again)
			}
		}
	})
}

func mustRead[T interface{ subject() uuid.UUID }](t *testing.T, value T) T {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	read, err := Data[T](Event{Data: raw})
	if err != nil {
		t.Fatal(err)
	}
	return read
}
