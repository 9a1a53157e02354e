package outbox

import "testing"

// A parsed position prints and parses to the same position.
func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{"", "0-0", "1700000000000-12", "1-", "-1", "1-2-3", "9223372036854775808-0", "+1-1", "-1--1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parsePosition(raw)
		if err != nil {
			return
		}
		if again, err := parsePosition(p.String()); err != nil || again != p {
			t.Errorf("%q is read as %+v and then as %+v: %v", raw, p, again, err)
		}
	})
}
