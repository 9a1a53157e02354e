// Package types contains the types of AWS Systems Manager that Traefik's provider for Amazon ECS uses.
package types

type InstanceInformation struct{ InstanceId, IPAddress *string }

type InstanceInformationStringFilter struct {
	Key    *string
	Values []string
}
