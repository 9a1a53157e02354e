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
	// timeout is when a request without an answer is lost.
	timeout = 15 * time.Second
	// connections bounds how many there are at once of each kind. A request that finds none waits, and is late for it.
	connections = 256
	maxAnswer   = 4 << 20 // bytes
)

// local takes an address on this machine only: nobody else asked for a load test.
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

// onlyLocal keeps a name that leads elsewhere from being connected to.
func onlyLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s isn't on this machine", address)
	}
	return nil
}

// newClient speaks HTTP/1.1: with HTTP/2 all requests would share a connection, and users have one each.
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

// request is what is asked for.
type request struct {
	method, path string
	token        string
	key          string // Idempotency-Key; "": none
	body         any    // as JSON; nil: none
}

// answer is what came back.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	reused   bool // the connection
	replayed bool // by net/http, on another connection
}

// ask sends a request once. net/http sends it again by itself where a kept connection turns out to be closed before a byte
// of an answer came, and the request may come twice: it is a GET or has a key. Browsers and proxies do so too; it is told
// apart as replayed.
func (r *Run) ask(ctx context.Context, client *http.Client, asked request) (answer, error) {
	var got answer
	var obtained atomic.Int32
	var reused atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		obtained.Add(1)
		reused.Store(info.Reused)
	}})
	made, err := r.newRequest(ctx, asked)
	if err != nil {
		return got, err
	}
	response, err := client.Do(made)
	if err == nil {
		defer response.Body.Close()
		got.status, got.header = response.StatusCode, response.Header
		got.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	}
	got.reused, got.replayed = reused.Load(), obtained.Load() > 1
	return got, err
}

func (r *Run) newRequest(ctx context.Context, asked request) (*http.Request, error) {
	var body io.Reader
	if asked.body != nil {
		content, err := json.Marshal(asked.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(content)
	}
	made, err := http.NewRequestWithContext(ctx, asked.method, r.base.String()+asked.path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		made.Header.Set("Content-Type", "application/json")
	}
	if asked.token != "" {
		made.Header.Set("Authorization", "Bearer "+asked.token)
	}
	if asked.key != "" {
		made.Header.Set("Idempotency-Key", asked.key)
	}
	return made, nil
}

// read is ask of what must be answered with this status; the answer's JSON is read into out, unless it is nil.
func (r *Run) read(ctx context.Context, asked request, want int, out any) error {
	got, err := r.ask(ctx, r.kept, asked)
	switch {
	case err != nil:
		return err
	case got.status != want:
		return statusError{asked: asked.method + " " + asked.path, status: got.status, want: want, reason: got.reason()}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(got.body, out); err != nil {
		return fmt.Errorf("%s %s: %w", asked.method, asked.path, err)
	}
	return nil
}

// statusError is an answer other than wanted.
type statusError struct {
	asked        string
	status, want int
	reason       string
}

func (e statusError) Error() string {
	return fmt.Sprintf("%s: the answer is %d, want %d%s", e.asked, e.status, e.want, e.reason)
}

// maxReason is how much of a reason is kept, in bytes.
const maxReason = 200

// reason is what a refusal says of itself (RFC 9457), after a colon; "" if it says nothing.
func (a answer) reason() string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(a.body, &problem) != nil || problem.Detail == "" {
		return ""
	}
	return ": " + problem.Detail[:min(len(problem.Detail), maxReason)]
}
