// Package kubernetes replaces the Kubernetes SDK when the provider is compiled. The
// provider uses three small parts of the SDK, for the components that read manifests
// and Helm charts. The SDK has a type for each kind and version of Kubernetes, and
// takes longer to compile than the rest of the provider.
package kubernetes

import "reflect"

// UntypedArgs are a resource's properties as a manifest has them.
type UntypedArgs map[string]any

// ElementType tells Pulumi how to marshal the properties.
func (UntypedArgs) ElementType() reflect.Type {
	return reflect.TypeFor[map[string]any]()
}
