package requestid

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWellFormedIDIsKept(t *testing.T) {
	for id, kept := range map[string]bool{
		"azAZ09._-": true, strings.Repeat("a", 64): true, "-": true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\nb": false, "a\x00": false, "ä": false, "a\u2028b": false, `a"b`: false, " a": false,
	} {
		var seen string
		handler := Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = From(r.Context()) }))
		request, response := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		request.Header[Header] = []string{id}
		handler.ServeHTTP(response, request)
		if (seen == id) != kept || seen == "" || response.Header().Get(Header) != seen {
			t.Errorf("%q is kept: %t, want %t; the response has %q", id, seen == id, kept, response.Header().Get(Header))
		}
	}
}
