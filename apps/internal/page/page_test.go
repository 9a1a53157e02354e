package page

import (
	"errors"
	"net/url"
	"slices"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "limit=7", "after=0190f3a0-0000-7000-8000-000000000001", "limit=0", "limit=101", "limit=1e3", "limit=-1",
		"after={0190f3a0-0000-7000-8000-000000000001}", "limit=9223372036854775808", "%zz", "limit=1&limit=2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		query, _ := url.ParseQuery(raw) // what net/http makes of a broken one, too
		r, err := Parse(query)
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != problem.Malformed {
				t.Errorf("%q fails with %v, want it malformed", raw, err)
			}
			return
		}
		if r.Limit < 1 || r.Limit > maxLimit {
			t.Errorf("%q asks for %d", raw, r.Limit)
		}
		if after := query.Get("after"); (r.After != nil) != (after != "") || r.After != nil && r.After.String() != after {
			t.Errorf("%q goes on after %v", raw, r.After)
		}
	})
}

// However long a list and however small its pages: together they are the list.
func TestThePagesTogetherAreTheList(t *testing.T) {
	for length := range 10 {
		list := make([]uuid.UUID, length)
		for i := range list {
			list[i][15] = byte(i + 1)
		}
		for limit := 1; limit <= 11; limit++ {
			var seen []uuid.UUID
			r := Request{Limit: limit}
			for pages := 0; pages <= length; pages++ {
				from := 0
				if r.After != nil {
					from = slices.Index(list, *r.After) + 1
				}
				shown, next := Cut(r, list[from:min(length, from+r.Fetch())], func(id uuid.UUID) uuid.UUID { return id })
				seen = append(seen, shown...)
				if r.After = next; next == nil {
					break
				}
			}
			if !slices.Equal(seen, list) {
				t.Errorf("%d in pages of %d: %v", length, limit, seen)
			}
		}
	}
}
