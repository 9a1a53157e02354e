// Package docs serves the description of the public API: an OpenAPI 3.1 document, which a test compares with
// the running services, and a page that shows it.
package docs

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"

	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui/v5emb"
)

// document is served unchanged. x-service names the service that handles an operation.
//
//go:embed openapi.json
var document []byte

var (
	// assets matches the files that the page loads.
	assets = regexp.MustCompile(`(?:src|href)="(/docs/[^"]+)"`)
	// inline matches the scripts and styles in the page.
	inline = regexp.MustCompile(`(?s)<(script|style)>(.*?)</(?:script|style)>`)
)

// Routes adds GET /openapi.json, GET /docs and the files of that page to a router.
func Routes(router chi.Router) {
	ui := v5emb.NewHandler("Platform API", "/openapi.json", "/docs")
	var page rendered
	ui.ServeHTTP(&page, &http.Request{URL: &url.URL{Path: "/docs"}})
	// The page is the same for everybody: the policy allows only these inline scripts and styles. All else
	// comes from this origin, except icons in the style sheet.
	own := map[string]string{}
	for _, element := range inline.FindAllStringSubmatch(page.String(), -1) {
		sum := sha256.Sum256([]byte(element[2]))
		own[element[1]] += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	policy := "default-src 'none'; script-src 'self'" + own["script"] + "; style-src 'self'" + own["style"] +
		"; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	router.Get("/openapi.json", revalidated(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document)
	}))
	router.Get("/docs", revalidated(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		ui.ServeHTTP(w, r)
	}))
	for _, asset := range assets.FindAllStringSubmatch(page.String(), -1) {
		router.Get(asset[1], revalidated(ui.ServeHTTP))
	}
}

// revalidated lets browsers cache a response, and check whether it has changed: the next release may differ.
func revalidated(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		handle(w, r)
	}
}

// rendered stores the body that a handler writes.
type rendered struct{ bytes.Buffer }

func (*rendered) Header() http.Header { return http.Header{} }
func (*rendered) WriteHeader(int)     {}
