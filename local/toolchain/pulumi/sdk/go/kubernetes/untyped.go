// Package kubernetes stands in for the Kubernetes SDK when the provider is
// compiled. The provider needs three small pieces of it, for the components that
// read manifests and Helm charts; the SDK itself, a type per kind and version of
// Kubernetes, takes longer to compile than all the rest of the provider.
package kubernetes

import "reflect"

// UntypedArgs are a resource's properties as a manifest has them.
type UntypedArgs map[string]any

// ElementType tells Pulumi how to marshal the properties.
func (UntypedArgs) ElementType() reflect.Type {
	return reflect.TypeFor[map[string]any]()
}
