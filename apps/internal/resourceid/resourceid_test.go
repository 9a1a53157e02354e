package resourceid

import (
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	const id = "0190f3a0-0000-7000-8000-000000000001"
	for _, raw := range []string{"", id, strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), "1;drop", "\x00"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if got, ok := Parse(raw); ok && got.String() != raw {
			t.Errorf("%q is taken for %s", raw, got)
		}
	})
}
