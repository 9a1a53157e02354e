// Package namespace names the platform's namespaces.
package namespace

// Name is the name of a namespace without the stack's Prefix.
type Name string

// The namespaces.
const (
	Apps       Name = "apps"       // the services
	Data       Name = "data"       // their stores
	Edge       Name = "edge"       // the entry point
	Monitoring Name = "monitoring" // Prometheus, Alertmanager, Grafana and exporters
)

// All returns all namespaces in the order of their creation.
func All() []Name { return []Name{Data, Apps, Edge, Monitoring} }

// Prefix is the prefix of the names of a stack's namespaces and cluster-scoped objects, such as "shop-". It may be empty.
type Prefix string

// Of is the name of a namespace on the cluster.
func (p Prefix) Of(name Name) string { return string(p) + string(name) }

// ClusterScoped is the name of a cluster-scoped object of the stack.
func (p Prefix) ClusterScoped(name string) string { return "platform-" + string(p) + name }

// Host is the DNS name of a Service in a namespace.
func (p Prefix) Host(service string, in Name) string { return service + "." + p.Of(in) + ".svc" }

// StackAnnotation is the annotation with the stack that owns an object.
const StackAnnotation = "platform.example/stack"
