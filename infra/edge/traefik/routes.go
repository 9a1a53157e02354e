package traefik

import (
	"fmt"

	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

const (
	// maxBody is the maximum size of a request's body. The services have lower limits.
	maxBody = 1 << 20
	// maxAnswer is the maximum part of a response that is buffered in memory for a slow client.
	maxAnswer = 4 << 20
	// minCompressed is the minimum size of a response for which compression saves a packet.
	minCompressed = 1 << 10

	// plain matches requests whose responses aren't compressed: those with tokens, which their length would reveal (BREACH), and those
	// to clients without Accept-Encoding.
	plain = " && (PathPrefix(`/api/auth/`) || !HeaderRegexp(`Accept-Encoding`, `.`))"
)

// object is a part of Traefik's dynamic configuration (doc.traefik.io/traefik, "File", "Routing").
type object = map[string]any

// Routes forwards all requests for the edge's host to the public service, with CORS for these origins.
//
// Requests go to the Service's address, which needs no DNS. The fallback is its name, for a recreated Service until the next update.
func Routes(config stack.Stack, upstream, address string, origins []string) map[string]any {
	balancer := func(url string) object {
		return object{"loadBalancer": object{"servers": []object{{"url": url}}, "serversTransport": "gateway"}}
	}
	services := object{"gateway": balancer(upstream)}
	if address != "" {
		byAddress := balancer(address)
		byAddress["loadBalancer"].(object)["healthCheck"] = object{"path": "/health", "interval": "2s", "timeout": "1s"}
		services = object{
			"gateway": object{"failover": object{"service": "address", "fallback": "name"}},
			"address": byAddress, "name": balancer(upstream),
		}
	}
	certificate := object{
		"certFile": fmt.Sprintf("%s/%s/tls.crt", Folder, Live),
		"keyFile":  fmt.Sprintf("%s/%s/tls.key", Folder, Live),
	}
	middlewares := object{
		"redirect": object{"redirectRegex": redirect(config.Edge)},
		"headers":  object{"headers": securityHeaders(config)},
		"body": object{"buffering": object{
			"maxRequestBodyBytes":  maxBody,
			"memRequestBodyBytes":  maxBody,
			"memResponseBodyBytes": maxAnswer,
		}},
		// Retries if the connection fails before a request is sent: the pod was just deleted, or the cluster's firewall refuses new
		// connections while it processes changes. The pauses are 50 to 100 ms.
		"retry": object{"retry": object{"attempts": 8, "initialInterval": "50ms"}},
		"compress": object{"compress": object{
			"encodings":            []string{"zstd", "br", "gzip"},
			"includedContentTypes": []string{"application/json", "application/problem+json", "text/html"},
			"minResponseBodyBytes": minCompressed,
		}},
		// Otherwise Traefik accepts gzip itself. The entity tags of the services depend on the encodings that the client accepts.
		"identity": object{"headers": object{"customRequestHeaders": object{"Accept-Encoding": "identity"}}},
	}
	used := []string{"body", "retry"}
	// Requests are limited by the address of the connection, but not with trusted proxies, since Traefik doesn't parse forwarded addresses:
	// one with a port, and each IPv6 address, would count as a client, and all clients without a proxy as one. The public service limits
	// requests then.
	if len(config.Edge.TrustedProxies) == 0 {
		middlewares["rate"] = object{"rateLimit": object{
			"average": config.Edge.RequestsPerSecond, "burst": 2 * config.Edge.RequestsPerSecond, "period": "1s",
			"sourceCriterion": object{"ipStrategy": object{"ipv6Subnet": 64}}, // the network of one client
		}}
		used = append([]string{"rate"}, used...)
	}
	gateway := func(rule string, middlewares ...string) object {
		return object{
			"entryPoints": []string{"https"},
			"rule":        rule,
			"middlewares": append([]string{"headers"}, append(middlewares, used...)...),
			"service":     "gateway",
			"tls":         object{},
		}
	}
	routers := object{
		"redirect": object{
			"entryPoints": []string{"http"},
			"rule":        "HostRegexp(`^.+$`)",
			"middlewares": []string{"redirect"},
			"service":     "noop@internal",
		},
		"gateway": gateway(rule(config), "compress"),
		"plain":   gateway(rule(config)+plain, "identity"),
	}
	if len(origins) > 0 {
		// Pages of other origins can read Traefik's own responses, such as 413 and 429. They may read all headers, since requests have no
		// credentials that a browser adds.
		middlewares["cors"] = object{"headers": object{
			"accessControlAllowOriginList": origins, "accessControlExposeHeaders": []string{"*"}, "addVaryHeader": true,
		}}
		routers["gateway"], routers["plain"] = gateway(rule(config), "cors", "compress"), gateway(rule(config)+plain, "cors", "identity")
		// Traefik would answer preflight requests itself, but only the public service knows its methods.
		preflight := gateway(rule(config) + " && Method(`OPTIONS`)")
		preflight["priority"] = 1000 // higher than the length of any rule, which is the default priority
		routers["preflight"] = preflight
	}
	if config.Edge.Issuer != "" {
		routers["solver"] = object{
			"entryPoints": []string{"http"}, "rule": "PathPrefix(`/.well-known/acme-challenge/`)", "priority": 100, "service": "solver",
		}
		services["solver"] = object{"loadBalancer": object{"servers": []object{{
			"url": fmt.Sprintf("http://%s.%s.svc:%d", network.Solver, config.NamespacePrefix.Of(namespace.Edge), network.SolverPort),
		}}}}
	}
	return object{
		"http": object{
			"routers":     routers,
			"middlewares": middlewares,
			"services":    services,
			"serversTransports": object{"gateway": object{
				"maxIdleConnsPerHost": 256,
				"forwardingTimeouts": object{
					"dialTimeout":           "1s",
					"responseHeaderTimeout": "30s",
					// An idle connection stays with its colour, which can't close it since a request may be on its way. Its next
					// request could then reach a colour that was rolled back.
					"idleConnTimeout": "400ms",
				},
			}},
		},
		"tls": object{
			"stores":  object{"default": object{"defaultCertificate": certificate}},
			"options": object{"default": object{"minVersion": "VersionTLS12", "cipherSuites": cipherSuites}},
		},
	}
}

// cipherSuites are the allowed suites of TLS 1.2: those with forward secrecy and authenticated encryption. TLS 1.3 only has such.
var cipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// redirect redirects from HTTP to HTTPS at the public port. Traefik's own redirection uses the container's port and drops the brackets of
// IPv6 addresses.
func redirect(edge stack.Edge) object {
	port := ""
	if edge.Type == stack.NodePort {
		port = fmt.Sprintf(":%d", edge.HTTPSPort)
	}
	return object{
		"regex":       `^https?://(\[[^\]/]+\]|[^:/]+)(?::\d*)?(.*)$`,
		"replacement": "https://${1}" + port + "${2}",
		"permanent":   true,
	}
}

// rule matches the edge's host. The environment local accepts all hosts.
func rule(config stack.Stack) string {
	if config.Environment == stack.Local {
		return "PathPrefix(`/`)"
	}
	return fmt.Sprintf("Host(`%s`)", config.Edge.Host)
}

func securityHeaders(config stack.Stack) object {
	headers := object{
		"contentTypeNosniff": true,
		"frameDeny":          true,
		"referrerPolicy":     "no-referrer",
		"permissionsPolicy":  "camera=(), geolocation=(), microphone=()",
	}
	if config.Environment != stack.Local { // it would apply to all programs on localhost
		headers["stsSeconds"], headers["stsIncludeSubdomains"] = 31536000, false
	}
	return headers
}
