package edge

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

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
)

// newRoutes is the part of Traefik's configuration that it follows while it runs.
func (a Args) newRoutes(ctx *pulumi.Context, parent pulumi.ResourceOption) (*corev1.ConfigMap, error) {
	text, err := yaml.Marshal(routes(a.Config, a.Upstream))
	if err != nil {
		return nil, err
	}
	return corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
		Metadata:  a.metadata(""),
		Immutable: pulumi.Bool(true),
		Data:      pulumi.StringMap{routesFile: pulumi.String(text)},
	}, parent)
}

// object is a part of Traefik's dynamic configuration (doc.traefik.io/traefik, "File", "Routing").
type object map[string]any

// routes leads everything that comes for the edge's host to the public service.
func routes(config stack.Stack, upstream string) object {
	certificate := object{
		"certFile": fmt.Sprintf("%s/%s/tls.crt", dynamicFolder, liveFolder),
		"keyFile":  fmt.Sprintf("%s/%s/tls.key", dynamicFolder, liveFolder),
	}
	all := object{
		"http": object{
			"routers": object{"gateway": object{
				"entryPoints": []string{"https"},
				"rule":        rule(config),
				"middlewares": []string{"headers", "rate", "body", "retry"},
				"service":     "gateway",
				"tls":         object{},
			}},
			"middlewares": object{
				"headers": object{"headers": securityHeaders(config)},
				"rate":    object{"rateLimit": rateLimit(config.Edge)},
				"body": object{"buffering": object{
					"maxRequestBodyBytes":  maxBody,
					"memRequestBodyBytes":  maxBody,
					"memResponseBodyBytes": maxAnswer,
				}},
				// Again if the connection fails before anything was sent: a pod that has just gone, or a cluster's firewall that refuses
				// new connections while it follows what came and went. The pauses are 50 to 100 ms.
				"retry": object{"retry": object{"attempts": 8, "initialInterval": "50ms"}},
			},
			"services": object{"gateway": object{"loadBalancer": object{
				"servers":          []object{{"url": upstream}},
				"serversTransport": "gateway",
			}}},
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
			"options": object{"default": object{"minVersion": "VersionTLS12"}},
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

// rateLimit is by the client's address: that of the connection, or what the trusted proxies say.
func rateLimit(edge stack.Edge) object {
	limit := object{"average": edge.RequestsPerSecond, "burst": 2 * edge.RequestsPerSecond, "period": "1s"}
	if len(edge.TrustedProxies) > 0 {
		limit["sourceCriterion"] = object{"ipStrategy": object{"excludedIPs": edge.TrustedProxies}}
	}
	return limit
}
