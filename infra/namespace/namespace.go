// Package namespace names the platform's namespaces.
package namespace

// Name is the name of a namespace.
type Name string

// The namespaces.
const (
	Apps Name = "apps" // the services
	Data Name = "data" // their stores
	Edge Name = "edge" // the way in

	Monitoring Name = "monitoring" // who watches them
)

// StackAnnotation on a namespace says which stack made it.
const StackAnnotation = "platform.example/stack"
