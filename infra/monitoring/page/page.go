// Package page serves a page that draws the dashboards where a cluster has no Grafana.
package page

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"platform.example/infra/monitoring/dashboard"
	"platform.example/infra/uplot"
)

//go:embed static
var static embed.FS

// policy lets the page load only content of this server.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// queryTimeout is the timeout of requests to Prometheus and Alertmanager.
const queryTimeout = 20 * time.Second

// newPage returns the handler of the page. The alertmanager may be nil.
func newPage(dashboards []dashboard.Dashboard, prometheus, alertmanager *url.URL) (http.Handler, error) {
	routes := http.NewServeMux()
	routes.Handle("/{$}", http.RedirectHandler("/d/"+dashboard.Home, http.StatusFound))
	routes.HandleFunc("/d/{uid}", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, static, "static/page.html") })
	routes.Handle("/static/", http.FileServerFS(static))
	routes.Handle("/static/uplot/", http.StripPrefix("/static/uplot/", http.FileServerFS(uplot.Files)))
	var entries []map[string]string
	for _, d := range dashboards {
		text, err := d.JSON()
		if err != nil {
			return nil, err
		}
		entries = append(entries, map[string]string{"uid": d.UID(), "title": d.Title()})
		routes.HandleFunc("/api/dashboards/"+d.UID(), func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, json.RawMessage(text))
		})
	}
	routes.HandleFunc("/api/dashboards/{uid}", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, fmt.Sprintf("There is no dashboard %q", r.PathValue("uid")))
	})
	routes.HandleFunc("/api/dashboards", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"home": dashboard.Home, "alertmanager": alertmanager != nil, "dashboards": entries})
	})
	for _, path := range []string{"/api/v1/query", "/api/v1/query_range", "/api/v1/label/{name}/values"} {
		routes.Handle(path, proxy("Prometheus", prometheus))
	}
	if alertmanager != nil {
		routes.Handle("/api/v2/alerts", proxy("Alertmanager", alertmanager))
	}
	return guard(routes), nil
}

// guard refuses other methods than GET, and any Host other than this machine. Another site could resolve its name to this machine, to
// read data through a visitor's browser (DNS rebinding).
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		host := r.Host
		if name, _, err := net.SplitHostPort(r.Host); err == nil {
			host = name
		}
		if host != "localhost" && !net.ParseIP(strings.Trim(host, "[]")).IsLoopback() {
			writeError(w, http.StatusMisdirectedRequest, fmt.Sprintf("This page is at localhost, not at %q", host))
			return
		}
		if r.Method != http.MethodGet {
			writeError(w, http.StatusMethodNotAllowed, "This page is read-only")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// proxy forwards the path and the parameters of requests, and the status, type and body of responses. It drops other headers, such as
// cookies of other programs on localhost and CORS headers.
func proxy(name string, upstream *url.URL) http.Handler {
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Header = http.Header{"Accept": {"application/json"}}
			if password, set := upstream.User.Password(); set {
				r.Out.SetBasicAuth(upstream.User.Username(), password)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header = http.Header{"Content-Type": r.Header["Content-Type"]}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			writeError(w, http.StatusBadGateway, fmt.Sprintf("%s at %s doesn't respond: %v", name, upstream.Redacted(), err))
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath != "" { // escaped slashes and dots in a label's name would reach other paths
			writeError(w, http.StatusNotFound, fmt.Sprintf("There is no path %s", r.URL.EscapedPath()))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
		defer cancel()
		reverse.ServeHTTP(w, r.WithContext(ctx))
	})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, map[string]string{"error": message})
}
