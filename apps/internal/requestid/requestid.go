// Package requestid gives every request an id that its logs, its errors and the requests to other services
// share.
package requestid

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
)

// Header is the header with the id, in requests and responses.
const Header = "X-Request-Id"

const (
	maxLength = 64
	// allowed excludes characters that could forge a log line or a header.
	allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)

type contextKey struct{}

// Middleware keeps the client's id if it is well formed, or else creates one.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(Header)
		if id == "" || len(id) > maxLength || strings.Trim(id, allowed) != "" {
			id = rand.Text()
		}
		w.Header().Set(Header, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, id)))
	})
}

// From returns the id of the request that ctx belongs to, or "".
func From(ctx context.Context) string {
	id, _ := ctx.Value(contextKey{}).(string)
	return id
}
