// Package catalog says what the services of the platform are, as data.
package catalog

import (
	"slices"
	"strings"
	"time"

	"platform.example/infra/quantity"
)

// Service is one program under apps/ and what it needs from the platform.
type Service struct {
	Name       string    // what Check accepts; also the folder under apps/
	Public     bool      // the one that the edge leads to
	Calls      []string  // names of the services whose address it is given; nobody else reaches them
	Database   string    // its own Postgres database; empty for none
	Cache      *Access   // its use of the Redis that may forget; nil for none
	Stream     *Access   // its use of the Redis that holds the events; nil for none
	KeepsUsers bool      // has the subcommands seed-demo and admin
	Redrives   bool      // has the subcommand redrive
	Settings   []Setting // what a stack may choose for it
	Secrets    []Secret  // beyond the passwords of its stores
	Resources  Resources
	Objectives Objectives
}

// Resources is what one replica asks for and may use. Memory is both: a replica never gets less than its limit.
type Resources struct {
	CPURequest quantity.CPU
	CPULimit   quantity.CPU
	Memory     quantity.Bytes
}

// Access is all that a service may do in a Redis.
type Access struct {
	Keys     []string  // glob patterns of the keys that it may touch
	Commands []string  // that it may send, beside those that open a connection
	Also     []*Access // further commands on keys of their own
}

// Setting is a value that a stack may give a service, at services.<name>.<key>. Unset, the service's own default holds.
type Setting struct {
	Key      string
	Variable string                       // the environment variable that hands it over
	Want     string                       // what is allowed, for people
	Read     func(string) (string, error) // the value in the form that is handed over
	Reaches  bool                         // is a URL outside the cluster which the service may call
	Needs    string                       // the key of another setting of the service that must be set with it; empty for none
}

// Objectives is what its users are promised of a service, over 30 days.
type Objectives struct {
	Availability float64       // share of requests that aren't answered 5xx
	Latency      time.Duration // within which LatencyShare of the requests are answered
	LatencyShare float64
	Breach       Severity // how loud it is when the objectives are being missed
}

// Severity is what an alert asks for.
type Severity string

// The severities.
const (
	Page   Severity = "page"   // somebody gets up
	Ticket Severity = "ticket" // somebody looks in the morning
)

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

// Callers is the names of the services that call this one, in the order of the catalog.
func Callers(services []Service, called string) []string {
	var callers []string
	for _, service := range services {
		if slices.Contains(service.Calls, called) {
			callers = append(callers, service.Name)
		}
	}
	return callers
}

// Audiences lists which services that the given one calls call others, as pairs: greeter-service:user-service,… An identity for
// the first service of a pair is valid at the second one.
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

// Publishes reports whether the service has an outbox: it trims the stream that it adds to.
func (s Service) Publishes() bool {
	return s.Stream.allows("xtrim")
}

// Consumes reports whether the service reads a stream in a group.
func (s Service) Consumes() bool {
	return s.Stream.allows("xreadgroup")
}

// Role is the Postgres role that owns the service's database.
func (s Service) Role() string { return strings.ReplaceAll(s.Name, "-", "_") }

// URLVariable names the environment variable in which callers find the service's address.
func (s Service) URLVariable() string { return strings.ToUpper(s.Role()) + "_URL" }

// publishes is the access of a service with an outbox for each stream.
func publishes(streams ...string) *Access {
	return &Access{Keys: streams,
		Commands: []string{"xadd", "xinfo|stream", "xinfo|groups", "xtrim", "xpending", "exists", "eval", "evalsha", "ping"}}
}

// consumes is the access of a service with a consumer of each stream: it may add to the dead letters alone.
func consumes(streams ...string) *Access {
	access := &Access{Commands: []string{"xgroup|create", "xgroup|delconsumer", "xreadgroup", "xautoclaim", "xclaim", "xack",
		"xinfo|groups", "xinfo|consumers", "xlen", "xpending", "xrange", "eval", "evalsha", "ping"}}
	buries := &Access{Commands: []string{"xadd"}}
	for _, stream := range streams {
		access.Keys = append(access.Keys, stream, stream+":dead")
		buries.Keys = append(buries.Keys, stream+":dead")
	}
	return access.and(buries)
}

// redrives is the access of the service that puts dead letters back.
func redrives(streams ...string) *Access {
	access := &Access{Commands: []string{"xadd"}}
	removes := &Access{Commands: []string{"xdel"}}
	for _, stream := range streams {
		access.Keys = append(access.Keys, stream)
		removes.Keys = append(removes.Keys, stream+":dead")
	}
	return access.and(removes)
}

// and is what a grants, and beside it what other grants.
func (a *Access) and(other *Access) *Access {
	return &Access{a.Keys, a.Commands, slices.Concat(a.Also, []*Access{{other.Keys, other.Commands, nil}}, other.Also)}
}

// Rules are a in the words of Redis' ACL; what stands in Also is a selector each.
func (a *Access) Rules() string {
	var words []string
	for _, keys := range a.Keys {
		words = append(words, "~"+keys)
	}
	for _, command := range a.Commands {
		words = append(words, "+"+command)
	}
	for _, also := range a.Also {
		words = append(words, "("+also.Rules()+")")
	}
	return strings.Join(words, " ")
}

// allows reports whether a grants a command on some keys.
func (a *Access) allows(command string) bool {
	return a != nil && (slices.Contains(a.Commands, command) || slices.ContainsFunc(a.Also, func(also *Access) bool { return also.allows(command) }))
}
