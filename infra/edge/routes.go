package edge

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

const (
	dynamicFolder = "/etc/traefik/dynamic"
	liveFolder    = "live"
	routesFile    = "routes.yaml"

	// maxBody bounds a request's body at the edge; the services bound theirs more tightly, each as it needs.
	maxBody = 1 << 20
	// maxAnswer is how much of an answer waits in memory for a slow client.
	maxAnswer = 4 << 20
	// minCompressed is the size of an answer from which compression saves a packet.
	minCompressed = 1 << 10

	// auth is a rule for what answers with tokens. The length of a compressed answer would tell of them (BREACH).
	auth = " && PathPrefix(`/api/auth/`)"
)

// newRoutes is the part of Traefik's configuration that it follows while it runs.
func (a Args) newRoutes(ctx *pulumi.Context, parent pulumi.ResourceOption) (*corev1.ConfigMap, error) {
	text := a.Address.ApplyT(func(address string) (string, error) {
		text, err := yaml.Marshal(routes(a.Config, a.Upstream, address, a.Origins))
		return string(text), err
	}).(pulumi.StringOutput)
	return kube.NewConfig(ctx, name, a.metadata(""), pulumi.StringMap{routesFile: text}, parent)
}

// object is a part of Traefik's dynamic configuration (doc.traefik.io/traefik, "File", "Routing").
type object map[string]any

// routes leads everything that comes for the edge's host to the public service. Pages of these origins may use it.
//
// Requests go to the Service's address, which needs no DNS. Its name is the fallback: for a Service that was recreated, until
// the next update knows its address.
func routes(config stack.Stack, upstream, address string, origins []string) object {
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
		"certFile": fmt.Sprintf("%s/%s/tls.crt", dynamicFolder, liveFolder),
		"keyFile":  fmt.Sprintf("%s/%s/tls.key", dynamicFolder, liveFolder),
	}
	middlewares := object{
		"redirect": object{"redirectRegex": redirect(config.Edge)},
		"headers":  object{"headers": securityHeaders(config)},
		"body": object{"buffering": object{
			"maxRequestBodyBytes":  maxBody,
			"memRequestBodyBytes":  maxBody,
			"memResponseBodyBytes": maxAnswer,
		}},
		// Again if the connection fails before anything was sent: a pod that has just gone, or a cluster's firewall that refuses
		// new connections while it follows what came and went. The pauses are 50 to 100 ms.
		"retry": object{"retry": object{"attempts": 8, "initialInterval": "50ms"}},
		"compress": object{"compress": object{
			"encodings":            []string{"zstd", "br", "gzip"},
			"includedContentTypes": []string{"application/json", "application/problem+json", "text/html"},
			"minResponseBodyBytes": minCompressed,
		}},
	}
	used := []string{"body", "retry"}
	if limit := rateLimit(config.Edge); limit != nil {
		middlewares["rate"] = object{"rateLimit": limit}
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
		"auth":    gateway(rule(config) + auth),
	}
	if len(origins) > 0 {
		middlewares["cors"] = object{"headers": cors(origins)}
		routers["gateway"], routers["auth"] = gateway(rule(config), "cors", "compress"), gateway(rule(config)+auth, "cors")
		// Traefik would answer preflight requests itself; the public service knows what it takes.
		preflight := gateway(rule(config) + " && Method(`OPTIONS`)")
		preflight["priority"] = 1000 // above the length of any rule, which is the priority of the others
		routers["preflight"] = preflight
	}
	all := object{
		"http": object{
			"routers":     routers,
			"middlewares": middlewares,
			"services":    services,
			"serversTransports": object{"gateway": object{
				"maxIdleConnsPerHost": 256,
				"forwardingTimeouts": object{
					"dialTimeout":           "1s",
					"responseHeaderTimeout": "30s",
					// An idle connection sticks to the colour that it was opened to, which can't close it: a request might be on its
					// way. So its next request, whenever that comes, would be answered by a colour that was taken back.
					"idleConnTimeout": "400ms",
				},
			}},
		},
		"tls": object{
			"stores":  object{"default": object{"defaultCertificate": certificate}},
			"options": object{"default": object{"minVersion": "VersionTLS12", "cipherSuites": cipherSuites}},
		},
	}
	if config.Edge.Issuer != "" {
		http := all["http"].(object)
		http["routers"].(object)["solver"] = object{
			"entryPoints": []string{"http"}, "rule": "PathPrefix(`/.well-known/acme-challenge/`)", "priority": 100, "service": "solver",
		}
		http["services"].(object)["solver"] = object{"loadBalancer": object{"servers": []object{{
			"url": fmt.Sprintf("http://%s.%s.svc:%d", network.Solver, config.NamespacePrefix.Of(namespace.Edge), network.SolverPort),
		}}}}
	}
	return all
}

// cipherSuites is what TLS 1.2 may use: suites with forward secrecy that authenticate what they encrypt. TLS 1.3 has no others.
var cipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// redirect leads from HTTP to HTTPS at the port that clients know. Traefik's own redirection names the port of the container,
// and loses the brackets of an IPv6 address.
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

// rule is the host's own name; locally also whatever else this machine is called.
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
	if config.Environment != stack.Local { // a browser would keep to https for everything on localhost
		headers["stsSeconds"], headers["stsIncludeSubdomains"] = 31536000, false
	}
	return headers
}

// cors lets pages of other origins read the answers that Traefik itself gives, such as 413 and 429. All headers may be read:
// requests never carry credentials that a browser adds.
func cors(origins []string) object {
	return object{
		"accessControlAllowOriginList": origins,
		"accessControlExposeHeaders":   []string{"*"},
		"addVaryHeader":                true,
	}
}

// rateLimit is by the address of the connection. Nil where clients come through trusted proxies: Traefik takes an address with
// a port for one client, each IPv6 address for another, and all who come without a proxy for the same; the public service
// limits the addresses then.
func rateLimit(edge stack.Edge) object {
	if len(edge.TrustedProxies) > 0 {
		return nil
	}
	return object{
		"average": edge.RequestsPerSecond, "burst": 2 * edge.RequestsPerSecond, "period": "1s",
		"sourceCriterion": object{"ipStrategy": object{"ipv6Subnet": 64}}, // what one client has to itself
	}
}
