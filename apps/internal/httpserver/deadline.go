package httpserver

import (
	"context"
	"net/http"
	"time"
)

// requestTimeout ends below the 5 s that the gateway waits, so that the client
// hears our reason rather than the gateway's.
const requestTimeout = 4 * time.Second

// Deadline bounds the time that the context of a request lasts.
func Deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
