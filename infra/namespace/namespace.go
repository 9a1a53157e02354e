// Package namespace names the platform's namespaces.
package namespace

// Name is what a namespace is for. With the stack's Prefix it is the namespace's name on the cluster.
type Name string

// The namespaces.
const (
	Apps       Name = "apps"       // the services
	Data       Name = "data"       // their stores
	Edge       Name = "edge"       // the entry point
	Monitoring Name = "monitoring" // Prometheus and what belongs to it
)

// All is every namespace, in the order in which they are created.
func All() []Name { return []Name{Data, Apps, Edge, Monitoring} }

// Prefix comes before the names of a stack's namespaces and of its cluster-scoped objects, such as "shop-"; empty for none.
type Prefix string

// Of is the name of a namespace on the cluster.
func (p Prefix) Of(name Name) string { return string(p) + string(name) }

// ClusterScoped is the name of a cluster-scoped object of the stack.
func (p Prefix) ClusterScoped(name string) string { return "platform-" + string(p) + name }

// Host is the DNS name of a Service in a namespace.
func (p Prefix) Host(service string, in Name) string { return service + "." + p.Of(in) + ".svc" }

// StackAnnotation on an object names the stack that owns it.
const StackAnnotation = "platform.example/stack"
