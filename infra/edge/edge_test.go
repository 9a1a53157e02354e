package edge

import (
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
			[]string{"--entryPoints.http.http.redirections.entryPoint.to=:30443", "--accessLog.fields.headers.defaultMode=drop"},
			[]string{"forwardedHeaders", "proxyProtocol", "priority"}},
		{"behind a load balancer", production,
			[]string{"--entryPoints.http.http.redirections.entryPoint.to=https", "--entryPoints.https.forwardedHeaders.trustedIPs=192.0.2.0/24",
				"--entryPoints.http.proxyProtocol.trustedIPs=192.0.2.0/24", "--entryPoints.https.proxyProtocol.trustedIPs=192.0.2.0/24",
				"--entryPoints.http.http.redirections.entryPoint.priority=1"},
			nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			given := flags(test.config)
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

// at follows names through parts of the routes.
func at(value any, path ...string) any {
	for _, name := range path {
		fields, _ := value.(object)
		value = fields[name]
	}
	return value
}

func TestRoutes(t *testing.T) {
	near, far := routes(local, "http://gateway:8080"), routes(production, "http://gateway:8080")
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
		t.Error("browsers are told to keep to https for all that runs on localhost")
	}
	if at(far, "http", "middlewares", "headers", "headers", "stsSeconds") == nil {
		t.Error("browsers aren't told to keep to https")
	}
	if proxies := at(far, "http", "middlewares", "rate", "rateLimit", "sourceCriterion", "ipStrategy", "excludedIPs"); proxies == nil {
		t.Error("all clients behind the load balancer share one limit")
	}
	used, _ := at(near, "http", "routers", "gateway", "middlewares").([]string)
	defined, _ := at(near, "http", "middlewares").(object)
	for _, middleware := range used {
		if defined[middleware] == nil {
			t.Errorf("middleware %s is used but not defined", middleware)
		}
	}
	if len(used) != len(defined) {
		t.Errorf("%d middlewares are defined and %d used", len(defined), len(used))
	}
}
