package api

import (
	"net/url"
	"strings"
	"testing"
)

// An origin that is taken is one that a browser could send, and never a pattern.
func FuzzParseOrigins(f *testing.F) {
	f.Add("https://shop.example, http://localhost:5173")
	f.Add("*")
	f.Add("https://a.example/")
	f.Fuzz(func(t *testing.T, raw string) {
		origins, err := ParseOrigins(raw)
		if err != nil {
			return
		}
		for _, origin := range origins {
			u, err := url.Parse(origin)
			if err != nil || u.Host == "" || strings.ContainsAny(origin, "* ") || u.Path != "" || u.User != nil || u.RawQuery != "" {
				t.Errorf("%q is taken for an origin", origin)
			}
		}
	})
}
