package traefik

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"platform.example/infra/stack"
)

var (
	local = stack.Stack{Name: "local", Environment: stack.Local, Edge: stack.Edge{
		Host: "localhost", Type: stack.NodePort, HTTPPort: 30080, HTTPSPort: 30443, RequestsPerSecond: 2000,
	}}
	production = stack.Stack{Name: "production", Environment: stack.Production, Edge: stack.Edge{
		Host: "api.example.com", Type: stack.LoadBalancer, RequestsPerSecond: 100, TrustedProxies: []string{"192.0.2.0/24"},
		ProxyProtocol: true, Issuer: "letsencrypt",
	}}
)

func TestFlags(t *testing.T) {
	tests := []struct {
		name           string
		config         stack.Stack
		there, missing []string
	}{
		{"on a node's ports", local,
			[]string{"--accessLog.fields.headers.defaultMode=drop"},
			[]string{"forwardedHeaders", "proxyProtocol", "redirections"}},
		{"behind a load balancer", production,
			[]string{"--entryPoints.https.forwardedHeaders.trustedIPs=192.0.2.0/24",
				"--entryPoints.http.proxyProtocol.trustedIPs=192.0.2.0/24", "--entryPoints.https.proxyProtocol.trustedIPs=192.0.2.0/24"},
			[]string{"redirections"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			given := Flags(test.config)
			for _, want := range test.there {
				if !slices.Contains(given, want) {
					t.Errorf("there is no %s in %v", want, given)
				}
			}
			for _, flag := range given {
				for _, unwanted := range append(test.missing, "--api", "insecure") {
					if strings.Contains(flag, unwanted) {
						t.Errorf("there is %s", flag)
					}
				}
			}
		})
	}
}

// object is a part of the routes.
type object = map[string]any

// texts returns a list of the routes.
func texts(list any) (texts []string) {
	values, _ := list.([]any)
	for _, value := range values {
		texts = append(texts, fmt.Sprint(value))
	}
	return texts
}

// at returns the part of the routes at a path of names.
func at(value any, path ...string) any {
	for _, name := range path {
		fields, _ := value.(object)
		value = fields[name]
	}
	return value
}

// Applies the expression as Traefik does: to the scheme, the Host header and the request's target.
func TestRedirect(t *testing.T) {
	for _, test := range []struct {
		kind              stack.ServiceType
		asked, redirected string
	}{
		{stack.LoadBalancer, "http://api.example.com/x?y=1&z", "https://api.example.com/x?y=1&z"},
		{stack.LoadBalancer, "http://api.example.com:80/x", "https://api.example.com/x"},
		{stack.LoadBalancer, "http://api.example.com:/x", "https://api.example.com/x"},
		{stack.LoadBalancer, "http://[2001:db8::1]/x", "https://[2001:db8::1]/x"},
		{stack.LoadBalancer, "http://[2001:db8::1]:8080/x", "https://[2001:db8::1]/x"},
		{stack.LoadBalancer, "http://api.example.com/a:80/[b]", "https://api.example.com/a:80/[b]"},
		{stack.ClusterIP, "http://api.example.com/", "https://api.example.com/"},
		{stack.NodePort, "http://localhost:30080/x", "https://localhost:30443/x"},
		{stack.NodePort, "http://[::1]:30080/x", "https://[::1]:30443/x"},
		{stack.NodePort, "http://[::1]/x", "https://[::1]:30443/x"},
	} {
		routes := Routes(stack.Stack{Edge: stack.Edge{Type: test.kind, HTTPSPort: 30443}}, "", "", nil)
		configured := at(routes, "http", "middlewares", "redirect", "redirectRegex")
		expression := regexp.MustCompile(at(configured, "regex").(string))
		if got := expression.ReplaceAllString(test.asked, at(configured, "replacement").(string)); got != test.redirected {
			t.Errorf("%s: %s leads to %s, want %s", test.kind, test.asked, got, test.redirected)
		}
	}
}

func TestRoutes(t *testing.T) {
	origins := []string{"https://shop.example"}
	near, far := Routes(local, "http://gateway:8080", "", nil), Routes(production, "http://gateway:8080", "http://10.96.0.7:8080", origins)
	if rule := at(far, "http", "routers", "gateway", "rule"); rule != "Host(`api.example.com`)" {
		t.Errorf("production answers to %v", rule)
	}
	if rule := at(near, "http", "routers", "gateway", "rule"); rule != "PathPrefix(`/`)" {
		t.Errorf("the stack local answers to %v", rule)
	}
	if at(near, "http", "routers", "solver") != nil || at(far, "http", "routers", "solver", "service") != "solver" ||
		at(far, "http", "services", "solver", "loadBalancer") == nil {
		t.Error("an issuer's challenges are led to their solver where there is an issuer")
	}
	if at(near, "http", "middlewares", "headers", "headers", "stsSeconds") != nil {
		t.Error("HSTS makes browsers use https for everything on localhost")
	}
	if at(far, "http", "middlewares", "headers", "headers", "stsSeconds") == nil {
		t.Error("browsers aren't told to keep to https")
	}
	// By the address, which needs no DNS, or by the name if that fails or there is no address.
	if server := at(near, "http", "services", "gateway", "loadBalancer", "servers"); fmt.Sprint(server) != "[map[url:http://gateway:8080]]" {
		t.Errorf("without an address, requests go to %v", server)
	}
	if failover := at(far, "http", "services", "gateway", "failover"); fmt.Sprint(failover) != "map[fallback:name service:address]" ||
		at(far, "http", "services", "address", "loadBalancer", "healthCheck") == nil {
		t.Errorf("requests go by %v", failover)
	}
	for service, url := range map[string]string{"address": "http://10.96.0.7:8080", "name": "http://gateway:8080"} {
		if server := at(far, "http", "services", service, "loadBalancer", "servers"); fmt.Sprint(server) != "[map[url:"+url+"]]" {
			t.Errorf("%s has the server %v, want %s", service, server, url)
		}
	}
	if subnet := at(near, "http", "middlewares", "rate", "rateLimit", "sourceCriterion", "ipStrategy", "ipv6Subnet"); subnet != 64 {
		t.Errorf("an IPv6 client is limited by its /%v", subnet)
	}
	if at(far, "http", "middlewares", "rate") != nil {
		t.Error("Traefik limits clients whose addresses it can't read from X-Forwarded-For")
	}
	suites := texts(at(far, "tls", "options", "default", "cipherSuites"))
	if len(suites) == 0 {
		t.Error("TLS 1.2 offers what Go offers")
	}
	for _, name := range suites {
		suite := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if suite < 0 || !slices.Contains(tls.CipherSuites()[suite].SupportedVersions, tls.VersionTLS12) || strings.Contains(name, "CBC") {
			t.Errorf("%s isn't a suite of TLS 1.2 with AEAD", name)
		}
	}
	for name, routes := range map[string]object{"near": near, "far": far} {
		used := map[string]bool{}
		defined, _ := at(routes, "http", "middlewares").(object)
		routers, _ := at(routes, "http", "routers").(object)
		for router := range routers {
			middlewares := texts(at(routers, router, "middlewares"))
			for _, middleware := range middlewares {
				used[middleware] = true
				if defined[middleware] == nil {
					t.Errorf("%s: middleware %s is used but not defined", name, middleware)
				}
			}
		}
		if len(used) != len(defined) {
			t.Errorf("%s: %d middlewares are defined and %d used", name, len(defined), len(used))
		}
	}
}

// All responses of Traefik itself need the headers. The public service answers preflight requests.
func TestCORS(t *testing.T) {
	routes := Routes(local, "http://gateway:8080", "", []string{"https://shop.example"})
	if origins := texts(at(routes, "http", "middlewares", "cors", "headers", "accessControlAllowOriginList")); !slices.Equal(origins, []string{"https://shop.example"}) {
		t.Errorf("pages of %v may use the API", origins)
	}
	for router, want := range map[string][]string{
		"gateway": {"headers", "cors", "compress", "rate", "body", "retry"}, "plain": {"headers", "cors", "identity", "rate", "body", "retry"},
		"preflight": {"headers", "rate", "body", "retry"},
	} {
		if got := texts(at(routes, "http", "routers", router, "middlewares")); !slices.Equal(got, want) {
			t.Errorf("%s passes %v, want %v", router, got, want)
		}
	}
}

// Responses are compressed, except for those with tokens and those to clients without Accept-Encoding. Services get the Accept-Encoding
// by which a response is compressed: their entity tags depend on it, and Traefik would add one of its own.
func TestResponsesAreCompressed(t *testing.T) {
	compress := object{
		"encodings":            []any{"zstd", "br", "gzip"},
		"includedContentTypes": []any{"application/json", "application/problem+json", "text/html"},
		"minResponseBodyBytes": 1024,
	}
	for _, config := range []stack.Stack{local, production} {
		for _, origins := range [][]string{nil, {"https://shop.example"}} {
			routes := Routes(config, "http://gateway:8080", "", origins)
			if got := at(routes, "http", "middlewares", "compress", "compress"); !reflect.DeepEqual(got, compress) {
				t.Errorf("%s compresses by %v, want %v", config.Name, got, compress)
			}
			routers, _ := at(routes, "http", "routers").(object)
			for router := range routers {
				middlewares := texts(at(routers, router, "middlewares"))
				if slices.Contains(middlewares, "compress") != (router == "gateway") {
					t.Errorf("%s: router %s passes %v", config.Name, router, middlewares)
				}
			}
			// Without a priority the longest rule comes first.
			all, _ := at(routers, "gateway", "rule").(string)
			tokens, _ := at(routers, "plain", "rule").(string)
			if tokens != all+" && (PathPrefix(`/api/auth/`) || !HeaderRegexp(`Accept-Encoding`, `.`))" || at(routers, "gateway", "priority") != nil || at(routers, "plain", "priority") != nil {
				t.Errorf("%s: tokens are answered by %v", config.Name, at(routers, "plain"))
			}
			middlewares := texts(at(routers, "plain", "middlewares"))
			set := at(routes, "http", "middlewares", "identity", "headers", "customRequestHeaders")
			if !slices.Contains(middlewares, "identity") || !reflect.DeepEqual(set, object{"Accept-Encoding": "identity"}) {
				t.Errorf("%s: plain responses are requested with %v", config.Name, set)
			}
			if first, _ := at(routers, "preflight", "priority").(int); origins != nil && first <= len(tokens) {
				t.Errorf("%s: a preflight request for a token has priority %d, which is not above %d", config.Name, first, len(tokens))
			}
		}
	}
}
