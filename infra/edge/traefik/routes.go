package traefik

import (
	_ "embed"
	"fmt"

	"platform.example/infra/configfile"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

//go:embed routes.yml
var routes string

// Routes returns the dynamic configuration, with CORS for these origins. The public service is at the URL upstream by name, and at address
// by its ClusterIP, if it has one.
func Routes(config stack.Stack, upstream, address string, origins []string) map[string]any {
	edge, port, solver := config.Edge, "", ""
	if edge.Type == stack.NodePort {
		port = fmt.Sprintf(":%d", edge.HTTPSPort)
	}
	rule := fmt.Sprintf("Host(`%s`)", edge.Host)
	if config.Environment == stack.Local { // accepts all hosts
		rule = "PathPrefix(`/`)"
	}
	if edge.Issuer != "" {
		solver = fmt.Sprintf("http://%s.%s.svc:%d", network.Solver, config.NamespacePrefix.Of(namespace.Edge), network.SolverPort)
	}
	return configfile.Decode[map[string]any](routes, map[string]any{
		"rule": rule, "port": port, "local": config.Environment == stack.Local, "origins": origins,
		"upstream": upstream, "address": address, "solver": solver, "certificates": Folder + "/" + Live,
		// Traefik limits requests by the address of the connection. With trusted proxies, the public service limits them instead, because
		// Traefik doesn't parse forwarded addresses: an address with a port, and each IPv6 address, would count as a client, and all clients
		// without a proxy as one.
		"limited": len(edge.TrustedProxies) == 0, "requests": edge.RequestsPerSecond, "burst": 2 * edge.RequestsPerSecond,
	})
}
