// Package release decides how a service gets from the version that is live to the one that is wanted: two colours, one of
// which has the traffic. It is plain data and functions without I/O; whoever carries a plan out asks and tells the cluster.
package release

// Colour tells the two Deployments of one service apart.
type Colour string

// The colours. Each has its own Deployment, Service and configuration; the live Service selects one of them.
const (
	Blue  Colour = "blue"
	Green Colour = "green"
)

// Name is what the resources of a service in this colour are called, such as user-service-blue.
func (c Colour) Name(service string) string { return service + "-" + string(c) }

// Other is the other colour.
func (c Colour) Other() Colour {
	if c == Blue {
		return Green
	}
	return Blue
}
