// Package release names the two colours in which a service can run side by side.
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
