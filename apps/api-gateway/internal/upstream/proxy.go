package upstream

import (
	"context"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"

	"platform.example/apps/internal/identity"
	"platform.example/apps/internal/problem"
	"platform.example/apps/internal/telemetry"
)

// publicPrefix is where clients see the paths of services.
const publicPrefix = "/api"

// target is where a request goes and for whom; Forward hands it to the proxy.
type target struct {
	path   string
	caller identity.Caller
}

type targetKey struct{}

// Forward passes the request on to path at the service, for caller (the zero
// Caller: for nobody), and the answer back.
func (s *Service) Forward(w http.ResponseWriter, r *http.Request, path string, caller identity.Caller) {
	ctx, cancel := context.WithTimeout(r.Context(), deadline)
	defer cancel()
	ctx = context.WithValue(ctx, targetKey{}, target{path, caller})
	s.proxy.ServeHTTP(w, r.WithContext(ctx))
}

// newProxy relies on httputil for what is hop-by-hop, and on Rewrite, which
// drops the Forwarded and X-Forwarded-* headers that the client sent.
func (s *Service) newProxy(errs *problem.Mapper) http.Handler {
	return &httputil.ReverseProxy{
		Transport:  s.transport,
		BufferPool: newBufferPool(),
		Rewrite: func(r *httputil.ProxyRequest) {
			ctx := r.Out.Context()
			to := ctx.Value(targetKey{}).(target)
			r.Out.URL.Scheme, r.Out.URL.Host = s.base.Scheme, s.base.Host
			r.Out.URL.Path, r.Out.URL.RawPath = s.base.Path+to.path, ""
			r.Out.Host = ""
			r.SetXForwarded()
			r.Out.Header.Del("Authorization") // the token is checked here and goes no further
			identity.Set(r.Out.Header, to.caller)
			telemetry.Propagate(ctx, r.Out.Header)
		},
		ModifyResponse: func(response *http.Response) error {
			// The router has set the id of the request already.
			response.Header.Del("X-Request-Id")
			if location := response.Header.Get("Location"); strings.HasPrefix(location, "/") {
				response.Header.Set("Location", publicPrefix+location)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			errs.Write(w, r, failure(s.name, err))
		},
	}
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

const bufferBytes = 16 << 10 // most answers fit one read

func newBufferPool() *bufferPool {
	return &bufferPool{sync.Pool{New: func() any { return new([bufferBytes]byte) }}}
}

// Get and Put hold arrays, because a slice put into a pool is allocated anew.
func (p *bufferPool) Get() []byte { return p.pool.Get().(*[bufferBytes]byte)[:] }

func (p *bufferPool) Put(buffer []byte) { p.pool.Put((*[bufferBytes]byte)(buffer)) }
