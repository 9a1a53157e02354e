package page

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
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
		limit, from, err := parse(query, uuid.Max)
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != problem.Malformed {
				t.Errorf("%q fails with %v, want it malformed", raw, err)
			}
			return
		}
		if limit < 1 || limit > maxLimit {
			t.Errorf("the limit of %q is %d", raw, limit)
		}
		if after := query.Get("after"); after == "" && from != uuid.Max || after != "" && from.String() != after {
			t.Errorf("%q continues after %v", raw, from)
		}
	})
}

// For any length of the list and size of a page, the pages together are the list.
func TestPagesCoverTheList(t *testing.T) {
	for length := range 10 {
		list := make([]uuid.UUID, length)
		for i := range list {
			list[i][15] = byte(i + 1)
		}
		for limit := 1; limit <= 11; limit++ {
			var seen []uuid.UUID
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			for range length + 1 {
				shown, next, err := Read(query, uuid.Nil, func(id uuid.UUID) uuid.UUID { return id }, func(after uuid.UUID, limit int) ([]uuid.UUID, error) {
					from := slices.Index(list, after) + 1
					return list[from:min(length, from+limit)], nil
				})
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, shown...)
				if next == nil {
					break
				}
				query.Set("after", next.String())
			}
			if !slices.Equal(seen, list) {
				t.Errorf("%d in pages of %d: %v", length, limit, seen)
			}
		}
	}
}
