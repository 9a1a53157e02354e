package api

import (
	"errors"
	"net/url"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/problem"
)

func FuzzParsePage(f *testing.F) {
	for _, seed := range []string{
		"", "limit=7&unread=true", "after=0190f3a0-0000-7000-8000-000000000001", "limit=0", "limit=1e3", "unread=1",
		"after={0190f3a0-0000-7000-8000-000000000001}", "limit=9223372036854775808", "%zz",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		query, _ := url.ParseQuery(raw) // what net/http makes of a broken one, too
		page, err := parsePage(query)
		if err != nil {
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != problem.Malformed {
				t.Errorf("%q fails with %v, want it malformed", raw, err)
			}
			return
		}
		if page.Limit < 1 || page.Limit > maxLimit {
			t.Errorf("%q asks for %d", raw, page.Limit)
		}
		if after := query.Get("after"); after != "" && page.Before.String() != after || after == "" && page.Before != uuid.Max {
			t.Errorf("%q goes on after %s", raw, page.Before)
		}
		if page.Unread != (query.Get("unread") == "true") {
			t.Errorf("%q asks for unread: %t", raw, page.Unread)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{
		"0190f3a0-0000-7000-8000-000000000001", "0190F3A0-0000-7000-8000-000000000001", "0190f3a0000070008000000000000001",
		"urn:uuid:0190f3a0-0000-7000-8000-000000000001", "1;drop", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if id, ok := parseID(raw); ok && id.String() != raw {
			t.Errorf("%q is taken for %s", raw, id)
		}
	})
}
