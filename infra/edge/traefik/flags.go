// Package traefik generates the configuration of Traefik.
package traefik

import (
	_ "embed"
	"strings"

	"platform.example/infra/configfile"
	"platform.example/infra/network"
	"platform.example/infra/stack"
)

const (
	// Folder is the folder of the dynamic configuration.
	Folder = "/etc/traefik/dynamic"
	// Live is the subfolder with its files.
	Live = "live"

	// OpsPort is for health and metrics.
	OpsPort = 9090

	// connectionSeconds is the maximum age of a connection. The next response then closes it.
	connectionSeconds = 20
	// AcceptSeconds is how long a terminating replica accepts connections: time for another replica to become ready, and then for its own
	// connections to reach their maximum age.
	AcceptSeconds = connectionSeconds + 10
	// FinishSeconds is the time for requests that are then in flight.
	FinishSeconds = 25
)

//go:embed flags.yml
var flags string

// Flags are Traefik's static configuration.
func Flags(config stack.Stack) []string {
	return configfile.Decode[[]string](flags, map[string]any{
		"folder": Folder, "opsPort": OpsPort, "httpPort": network.EdgeHTTPPort, "httpsPort": network.EdgeHTTPSPort,
		"entries": []string{"http", "https"}, "connection": connectionSeconds, "accept": AcceptSeconds, "finish": FinishSeconds,
		"proxies": strings.Join(config.Edge.TrustedProxies, ","), "proxyProtocol": config.Edge.ProxyProtocol,
	})
}
