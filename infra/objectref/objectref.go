// Package objectref identifies objects of Kubernetes.
package objectref

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Ref identifies an object. Namespace is empty for a cluster-scoped one.
type Ref struct{ APIVersion, Kind, Namespace, Name string }

// Of reads the identity of an object from its manifest. Name is empty if the API server or Pulumi generates it.
func Of(manifest map[string]any) Ref {
	object := unstructured.Unstructured{Object: manifest}
	return Ref{object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName()}
}

func (r Ref) String() string { return r.Kind + " " + r.ID() }

// ID is Pulumi's ID of the object: its name, preceded by its namespace.
func (r Ref) ID() string { return strings.TrimPrefix(r.Namespace+"/"+r.Name, "/") }
