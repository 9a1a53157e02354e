package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/live"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/requestid"
	"platform.example/apps/internal/telemetry"
)

// publicPrefix precedes the paths of services in the public API.
const publicPrefix = "/api"

// shortBytes is the length up to which net/http sets the Content-Length of a response itself. It always sets
// Date. A map with nine headers costs five more allocations than one with eight, so the gateway omits headers
// that net/http sets.
const shortBytes = 1 << 10

// large limits the memory of responses that wait for slow clients. A page of orders has up to 1.2 MB.
var large = semaphore.NewWeighted(16 << 20)

// Hold reserves memory for a large response until release. It fails with problem.Unavailable if none is left.
func Hold(bytes int) (release func(), err error) {
	if !large.TryAcquire(int64(bytes)) {
		return nil, problem.New(problem.Unavailable, "Too many large responses are being sent right now.", nil)
	}
	return func() { large.Release(int64(bytes)) }, nil
}

// Destination states where a request goes, and for whom.
type Destination struct {
	Path   string
	Caller identity.Caller // the zero Caller is anonymous
	Client string          // address of the client, for X-Forwarded-For
	Scheme string          // of the client's connection, for X-Forwarded-Proto
	Keyed  bool            // whether the service recognises a repeated request by its Idempotency-Key
}

// Forward forwards a request to the service and the response to the client. Its errors may be sent to a
// client; nothing was written to w then.
func (s *Service) Forward(w http.ResponseWriter, r *http.Request, to Destination) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	if r.ContentLength != 0 {
		body, err := readBody(r)
		if err != nil {
			return err
		}
		request.SetBodyRaw(body)
	}
	uri := s.base.Path + to.Path
	if r.URL.RawQuery != "" {
		uri += "?" + r.URL.RawQuery
	}
	if err := s.prepare(r.Context(), request, r.Method, uri, to.Caller); err != nil {
		return err
	}
	copyRequestHeader(&request.Header, r.Header)
	request.Header.Set("X-Forwarded-For", to.Client)
	request.Header.Set("X-Forwarded-Host", r.Host)
	request.Header.Set("X-Forwarded-Proto", to.Scheme)
	if err := s.exchange(request, response, replayable(r, to.Keyed)); err != nil {
		return err
	}
	if size := len(response.Body()); size > 64<<10 {
		release, err := Hold(size)
		if err != nil {
			return err
		}
		defer release()
	}
	pass(w, response)
	return nil
}

// prepare sets the method and the URL of a request, the signed identity of the caller, and the trace context.
func (s *Service) prepare(ctx context.Context, request *fasthttp.Request, method, uri string, caller identity.Caller) error {
	signed, err := s.signer.Sign(caller, s.Name)
	request.Header.DisableNormalizing() // the names are in canonical form already
	request.Header.SetMethod(method)
	request.SetRequestURI(uri)
	request.URI().SetScheme(s.base.Scheme)
	request.URI().SetHost(s.base.Host)
	request.Header.Set(identity.Header, signed)
	telemetry.Propagate(ctx, carrier{&request.Header})
	return err
}

// readBody reads a body, whose size the router limits. It allocates memory only for received bytes: a client
// may state a length and send nothing.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	if err != nil {
		return nil, problem.New(problem.Malformed, "The body could not be read.", fmt.Errorf("reading a body: %w", err))
	}
	return body, nil
}

// replayable reports whether the request may be sent twice: because of its method (RFC 9110, 9.2.2), or
// because it has a key by which the service recognises it.
func replayable(r *http.Request, keyed bool) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return keyed && r.Header.Get("Idempotency-Key") != ""
}

// copyRequestHeader copies the client's headers, but not the ones that end at the gateway: headers of the
// connection, headers that only the gateway may set, and the access token.
func copyRequestHeader(to *fasthttp.RequestHeader, from http.Header) {
	connection := from["Connection"]
	for name, values := range from {
		switch {
		case hopByHop(name), name == identity.Header, strings.HasPrefix(name, "X-User-"), strings.HasPrefix(name, "X-Forwarded-"):
			continue
		case len(connection) > 0 && named(connection, name):
			continue
		}
		switch name {
		case "Authorization", "Forwarded", "X-Real-Ip", "Cookie", "Expect", "Content-Length", "Host",
			"Traceparent", "Tracestate", "Baggage", requestid.Header:
			continue
		}
		for _, value := range values {
			to.Add(name, value)
		}
	}
}

// hopByHop reports whether a header belongs to one connection (RFC 9110, 7.6.1).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// named reports whether the Connection header lists a header.
func named(connection []string, name string) bool {
	for _, value := range connection {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(textproto.TrimString(option), name) {
				return true
			}
		}
	}
	return false
}

// pass writes the response of a service to the client.
func pass(w http.ResponseWriter, response *fasthttp.Response) {
	h := w.Header()
	response.Header.SetNoDefaultContentType(true) // or fasthttp adds one to a response without content
	var connection []string
	if options := response.Header.Peek("Connection"); len(options) > 0 {
		connection = []string{string(options)}
	}
	for key, value := range response.Header.All() {
		name := canonical(key)
		switch {
		case name == "", hopByHop(name), len(connection) > 0 && named(connection, name):
			continue
		}
		text := string(value)
		if name == "Location" && strings.HasPrefix(text, "/") {
			text = publicPrefix + text
		}
		if name == "Cache-Control" { // the service's value replaces the gateway's
			delete(h, name)
		}
		h[name] = append(h[name], text)
	}
	body := response.Body()
	if status := response.StatusCode(); status >= http.StatusOK && status != http.StatusNoContent && status != http.StatusNotModified {
		length := len(body)
		if response.SkipBody { // HEAD: the length that the service states
			length = response.Header.ContentLength()
		}
		if length > shortBytes || response.SkipBody && length >= 0 {
			h["Content-Length"] = []string{strconv.Itoa(length)}
		}
	}
	w.WriteHeader(response.StatusCode())
	if len(body) > 0 {
		_, _ = w.Write(body) // fails only if the client has left
	}
}

// canonical returns the canonical name of a header to forward, without an allocation for common names, or ""
// for a header that the gateway sets itself.
func canonical(key []byte) string {
	switch string(key) {
	case "Content-Type":
		return "Content-Type"
	case "Etag":
		return "Etag"
	case "X-Cache":
		return "X-Cache"
	case "Cache-Control":
		return "Cache-Control"
	case "Server-Timing":
		return "Server-Timing"
	case live.Header: // about the connection to the gateway
		return ""
	case "Content-Length", "Date", "Server", requestid.Header, "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy":
		return ""
	}
	return textproto.CanonicalMIMEHeaderKey(string(key))
}

// carrier sets the trace context of a request.
type carrier struct{ header *fasthttp.RequestHeader }

func (c carrier) Get(name string) string { return string(c.header.Peek(name)) }
func (c carrier) Set(name, value string) { c.header.Set(textproto.CanonicalMIMEHeaderKey(name), value) }
func (c carrier) Keys() []string         { return nil }
