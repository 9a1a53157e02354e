// Package catalog says what the services of the platform are, as data.
package catalog

import (
	"strings"

	"platform.example/infra/quantity"
)

// Service is one program under apps/ and what it needs from the platform.
type Service struct {
	Name      string   // a DNS-1123 label; also the folder under apps/
	Public    bool     // reached from outside the cluster
	Calls     []string // names of the services whose address it is given
	Database  string   // its own Postgres database; empty for none
	Cache     bool     // uses the Redis that may forget
	Stream    bool     // publishes or consumes events
	SeedsDemo bool     // has the seed-demo subcommand
	Secrets   []Secret // beyond the passwords of its stores
	Resources Resources
}

// Resources is what one replica asks for and may use. Memory is both: a replica never gets less than its limit.
type Resources struct {
	CPURequest quantity.CPU
	CPULimit   quantity.CPU
	Memory     quantity.Bytes
}

// What every service offers alike; the binaries under apps/ keep the other half of this contract.
const (
	HTTPPort = 8080 // the API
	OpsPort  = 9090 // health and metrics

	LivePath = "/livez"
	// ReadyPath leaves Postgres out, though services report it: it is away for all replicas at once, and to send them no
	// more requests would take away what they do without it, and their own word on when to come again.
	ReadyPath   = "/readyz?exclude=postgres"
	MetricsPath = "/metrics"

	// DatabaseConnections is how many connections one replica's pool opens at most.
	DatabaseConnections = 8
)

// Role is the Postgres role that the service signs in as.
func (s Service) Role() string { return strings.ReplaceAll(s.Name, "-", "_") }

// URLVariable names the environment variable in which callers find the service's address.
func (s Service) URLVariable() string { return strings.ToUpper(s.Role()) + "_URL" }
