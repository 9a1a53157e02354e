// Package types contains the types of Amazon EC2 that Traefik's provider for Amazon ECS uses.
package types

type InstanceStateName string

const InstanceStateNameRunning = InstanceStateName("running")

type Instance struct {
	InstanceId, PrivateIpAddress *string
	State                        *struct{ Name InstanceStateName }
}
