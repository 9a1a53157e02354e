package api

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseOrigins(t *testing.T) {
	for raw, right := range map[string]bool{
		"https://shop.example, http://localhost:5173": true, "https://[2001:db8::1]:8443": true, "http://shop.example:443": true,
		"*": false, "https://*.example": false, "null": false, "https://": false, "shop.example": false, "ftp://shop.example": false,
		"https://Shop.example": false, "HTTPS://shop.example": false, "https://shop.example:443": false, "http://shop.example:80": false,
		"https://shop.example:": false, "https://shop.example/": false, "https://shop.example?a": false, "https://a@shop.example": false,
	} {
		if origins, err := ParseOrigins(raw); (err == nil) != right {
			t.Errorf("%q: %q, %v", raw, origins, err)
		}
	}
	if _, err := ParseOrigins("https://shop.example,https://user:hunter2@shop.example"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "position 2:") {
		t.Errorf("the error quotes the value, or names no origin: %v", err)
	}
}

// An accepted origin is one that a browser can send, and never a pattern.
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
