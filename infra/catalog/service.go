// Package catalog describes the services of the platform.
package catalog

import (
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/quantity"
)

// Service is a program in apps/ and its requirements.
type Service struct {
	Name       string    // must pass Check; also the folder in apps/
	Public     bool      // it is behind the edge
	Calls      []string  // services that it calls; a service is reachable only for its callers
	Internal   []string  // routes that other services poll; objectives and releases don't count their requests
	Database   string    // its Postgres database; empty for none
	Cache      *Access   // its access to the cache; nil for none
	Stream     *Access   // its access to the stream; nil for none
	KeepsUsers bool      // has the subcommands seed-demo and admin
	Redrives   bool      // has the subcommand redrive
	Settings   []Setting // configurable by a stack
	Secrets    []Secret  // besides the passwords of its stores
	Resources  Resources
	Objectives Objectives
}

// Resources are the requests and limits of one replica. Memory is both.
type Resources struct {
	CPURequest quantity.CPU
	CPULimit   quantity.CPU
	Memory     quantity.Bytes
}

// Access is the permissions of a service in a Redis.
type Access struct {
	Keys     []string  // glob patterns of keys
	Commands []string  // besides those that open a connection
	Also     []*Access // further permissions for other keys
}

// Setting is a setting of a service in a stack, services.<name>.<key>. If it isn't set, the service uses its default.
type Setting struct {
	Key      string
	Variable string                       // the service's environment variable
	Want     string                       // the allowed values, for error messages
	Read     func(string) (string, error) // parses and normalizes the value
	Reaches  bool                         // it is a URL outside of the cluster that the service calls
	Needs    string                       // key of another setting of the service that it requires; empty for none
}

// Objectives are a service's objectives over 30 days.
type Objectives struct {
	Availability float64 // share of requests that don't return 5xx
	Latency      time.Duration
	LatencyShare float64  // share of requests that complete within Latency
	Breach       Severity // of alerts on missed objectives
}

// Severity is the severity of an alert.
type Severity string

// The severities.
const (
	Page   Severity = "page"   // needs somebody at once
	Ticket Severity = "ticket" // can wait until the morning
)

// The common interface of all services, which the programs in apps/ implement.
const (
	HTTPPort = 8080 // the API
	OpsPort  = 9090 // health and metrics

	LivePath = "/livez"
	// ReadyPath excludes Postgres, whose outage affects all replicas at once. Without ready replicas, clients would also lose the functions
	// that don't need Postgres, and the Retry-After of the others.
	ReadyPath   = "/readyz?exclude=postgres"
	MetricsPath = "/metrics"

	// DatabaseConnections is the maximum size of one replica's connection pool.
	DatabaseConnections = 8
)

// Public returns the service behind the edge, or the zero Service without one.
func Public(services []Service) Service {
	for _, service := range services {
		if service.Public {
			return service
		}
	}
	return Service{}
}

// Callers returns the services that call this one, in the order of the catalog.
func Callers(services []Service, called string) []string {
	var callers []string
	for _, service := range services {
		if slices.Contains(service.Calls, called) {
			callers = append(callers, service.Name)
		}
	}
	return callers
}

// Audiences lists the calls of the services that the given one calls, as pairs: greeter-service:user-service,… An identity for the
// first service of a pair is valid at the second one.
func Audiences(services []Service, of Service) string {
	var pairs []string
	for _, service := range services {
		for _, called := range service.Calls {
			if slices.Contains(of.Calls, service.Name) {
				pairs = append(pairs, service.Name+":"+called)
			}
		}
	}
	return strings.Join(pairs, ",")
}

// Publishes reports whether the service has an outbox. Only such services trim a stream.
func (s Service) Publishes() bool { return s.Stream.allows("xtrim") }

// Consumes reports whether the service has a consumer group.
func (s Service) Consumes() bool { return s.Stream.allows("xreadgroup") }

// Role is the Postgres role that owns the service's database.
func (s Service) Role() string { return strings.ReplaceAll(s.Name, "-", "_") }

// URLVariable is the environment variable of callers with the service's URL.
func (s Service) URLVariable() string { return strings.ToUpper(s.Role()) + "_URL" }

// publishes is the access of a service with an outbox for each stream.
func publishes(streams ...string) *Access {
	return &Access{Keys: streams,
		Commands: []string{"xadd", "xinfo|stream", "xinfo|groups", "xtrim", "xpending", "exists", "eval", "evalsha", "ping"}}
}

// consumes is the access of a service with a consumer of each stream. It may add entries only to the dead letters.
func consumes(streams ...string) *Access {
	access := &Access{Commands: []string{"xgroup|create", "xgroup|delconsumer", "xreadgroup", "xautoclaim", "xclaim", "xack",
		"xinfo|groups", "xinfo|consumers", "xlen", "xpending", "xrange", "eval", "evalsha", "ping"}}
	dead := &Access{Commands: []string{"xadd"}}
	for _, stream := range streams {
		access.Keys = append(access.Keys, stream, stream+":dead")
		dead.Keys = append(dead.Keys, stream+":dead")
	}
	return access.and(dead)
}

// redrives is the access of the service that moves dead letters back to their streams.
func redrives(streams ...string) *Access {
	access := &Access{Commands: []string{"xadd"}}
	dead := &Access{Commands: []string{"xdel"}}
	for _, stream := range streams {
		access.Keys = append(access.Keys, stream)
		dead.Keys = append(dead.Keys, stream+":dead")
	}
	return access.and(dead)
}

// and combines the permissions of a and other.
func (a *Access) and(other *Access) *Access {
	return &Access{a.Keys, a.Commands, slices.Concat(a.Also, []*Access{{other.Keys, other.Commands, nil}}, other.Also)}
}

// Rules formats the permissions for Redis' ACL, with a selector for each Also.
func (a *Access) Rules() string {
	keys := slice.Map(a.Keys, func(keys string) string { return "~" + keys })
	commands := slice.Map(a.Commands, func(command string) string { return "+" + command })
	also := slice.Map(a.Also, func(also *Access) string { return "(" + also.Rules() + ")" })
	return strings.Join(slices.Concat(keys, commands, also), " ")
}

// allows reports whether a permits a command on any keys.
func (a *Access) allows(command string) bool {
	return a != nil && (slices.Contains(a.Commands, command) || slices.ContainsFunc(a.Also, func(also *Access) bool { return also.allows(command) }))
}
