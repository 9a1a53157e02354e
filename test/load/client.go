package load

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// timeout is the time after which a request without a response is lost.
	timeout = 15 * time.Second
	// connections limits the connections of each kind. A request without a free connection waits, and counts as late.
	connections = 256
	maxBody     = 4 << 20 // bytes
)

// local parses an address on this machine. It refuses other machines, because their owners haven't agreed to a load test.
func local(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("load: the address: %w", err)
	}
	if base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil || base.RawQuery != "" {
		return nil, fmt.Errorf("load: the address %q: want one such as https://localhost:30443", raw)
	}
	address, err := netip.ParseAddr(base.Hostname())
	if base.Hostname() != "localhost" && (err != nil || !address.Unmap().IsLoopback()) {
		return nil, fmt.Errorf("load: %s isn't on this machine: only localhost and loopback addresses may be loaded", base.Host)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	return base, nil
}

// onlyLocal refuses connections to other machines, in case a name resolves to one.
func onlyLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s isn't on this machine", address)
	}
	return nil
}

// newClient uses HTTP/1.1: with HTTP/2, all requests would share one connection, although each user has its own.
func newClient(authorities *x509.CertPool, keep bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: timeout, Control: onlyLocal}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{ // without a proxy
			Protocols:           protocols,
			DialContext:         dialer.DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: timeout,
			DisableKeepAlives:   !keep,
			MaxConnsPerHost:     connections,
			MaxIdleConnsPerHost: connections,
			IdleConnTimeout:     30 * time.Second, // before the edge closes it, after 90 s
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// request is a request to the API.
type request struct {
	method, path string
	token        string
	key          string // Idempotency-Key; "": none
	body         any    // as JSON; nil: none
}

// response is the response to a request.
type response struct {
	status   int
	header   http.Header
	body     []byte
	reused   bool // the connection was used before
	replayed bool // net/http sent the request again on another connection
}

// do sends a request once. If a kept connection turns out to be closed before the first byte of a response, net/http sends the
// request again, so that the server may get it twice: each request is a GET or has a key. Browsers and proxies do the same. The
// response then has replayed set.
func (r *Run) do(ctx context.Context, client *http.Client, sent request) (response, error) {
	var got response
	var obtained atomic.Int32
	var reused atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		obtained.Add(1)
		reused.Store(info.Reused)
	}})
	outgoing, err := r.newRequest(ctx, sent)
	if err != nil {
		return got, err
	}
	response, err := client.Do(outgoing)
	if err == nil {
		defer response.Body.Close()
		got.status, got.header = response.StatusCode, response.Header
		got.body, err = io.ReadAll(io.LimitReader(response.Body, maxBody))
	}
	got.reused, got.replayed = reused.Load(), obtained.Load() > 1
	return got, err
}

func (r *Run) newRequest(ctx context.Context, sent request) (*http.Request, error) {
	var body io.Reader
	if sent.body != nil {
		content, err := json.Marshal(sent.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(content)
	}
	outgoing, err := http.NewRequestWithContext(ctx, sent.method, r.base.String()+sent.path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		outgoing.Header.Set("Content-Type", "application/json")
	}
	if sent.token != "" {
		outgoing.Header.Set("Authorization", "Bearer "+sent.token)
	}
	if sent.key != "" {
		outgoing.Header.Set("Idempotency-Key", sent.key)
	}
	return outgoing, nil
}

// read sends a request that must get this status, and decodes the JSON response into out unless out is nil.
func (r *Run) read(ctx context.Context, sent request, want int, out any) error {
	got, err := r.do(ctx, r.kept, sent)
	switch {
	case err != nil:
		return err
	case got.status != want:
		return statusError{sent: sent.method + " " + sent.path, status: got.status, want: want, reason: got.reason()}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(got.body, out); err != nil {
		return fmt.Errorf("%s %s: %w", sent.method, sent.path, err)
	}
	return nil
}

// statusError reports a response with an unexpected status.
type statusError struct {
	sent         string
	status, want int
	reason       string
}

func (e statusError) Error() string {
	return fmt.Sprintf("%s: got status %d, want %d%s", e.sent, e.status, e.want, e.reason)
}

// maxReason is the maximum length of a reason in bytes.
const maxReason = 200

// reason returns the detail of a problem response (RFC 9457) after a colon, or "".
func (r response) reason() string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(r.body, &problem) != nil || problem.Detail == "" {
		return ""
	}
	return ": " + problem.Detail[:min(len(problem.Detail), maxReason)]
}
