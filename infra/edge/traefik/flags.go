// Package traefik generates the configuration of Traefik.
package traefik

import (
	"fmt"
	"strings"

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
	// AcceptSeconds is how long a terminating replica accepts connections: until another replica is ready, if none is, and then until
	// its connections are too old.
	AcceptSeconds = connectionSeconds + 10
	// FinishSeconds is for requests that are then in flight.
	FinishSeconds = 25
)

// Flags are Traefik's static configuration. Its API and its dashboard are off.
func Flags(config stack.Stack) []string {
	flags := []string{
		"--global.checkNewVersion=false",
		"--global.sendAnonymousUsage=false",
		"--log.format=json",
		"--log.level=INFO",
		"--accessLog=true",
		"--accessLog.format=json",
		"--accessLog.fields.headers.defaultMode=drop", // they contain tokens
		"--providers.file.directory=" + Folder,
		"--providers.file.watch=true",
		fmt.Sprintf("--entryPoints.ops.address=:%d", OpsPort),
		fmt.Sprintf("--entryPoints.ops.transport.lifeCycle.requestAcceptGraceTimeout=%ds", AcceptSeconds),
		"--ping.entryPoint=ops",
		"--ping.terminatingStatusCode=200", // so that the only replica gets requests while it terminates
		"--metrics.prometheus.entryPoint=ops",
		"--metrics.prometheus.buckets=0.1,0.25,0.5,1,2.5,5", // with the latency objective of the public service
		fmt.Sprintf("--entryPoints.http.address=:%d", network.EdgeHTTPPort),
		fmt.Sprintf("--entryPoints.https.address=:%d", network.EdgeHTTPSPort),
		"--entryPoints.https.asDefault=true",
		"--entryPoints.https.http.tls=true",
	}
	for _, entry := range []string{"http", "https"} {
		flags = append(flags,
			"--entryPoints."+entry+".transport.respondingTimeouts.readTimeout=30s",
			"--entryPoints."+entry+".transport.respondingTimeouts.writeTimeout=60s",
			"--entryPoints."+entry+".transport.respondingTimeouts.idleTimeout=90s",
			fmt.Sprintf("--entryPoints.%s.transport.keepAliveMaxTime=%ds", entry, connectionSeconds),
			fmt.Sprintf("--entryPoints.%s.transport.lifeCycle.requestAcceptGraceTimeout=%ds", entry, AcceptSeconds),
			fmt.Sprintf("--entryPoints.%s.transport.lifeCycle.graceTimeOut=%ds", entry, FinishSeconds),
		)
		if proxies := config.Edge.TrustedProxies; len(proxies) > 0 {
			flags = append(flags, "--entryPoints."+entry+".forwardedHeaders.trustedIPs="+strings.Join(proxies, ","))
			if config.Edge.ProxyProtocol {
				flags = append(flags, "--entryPoints."+entry+".proxyProtocol.trustedIPs="+strings.Join(proxies, ","))
			}
		}
	}
	return flags
}
