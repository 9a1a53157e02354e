package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	strictjson "sigs.k8s.io/json"

	"platform.example/infra/cluster"
	"platform.example/infra/stack"
)

// typed is an object of its Go type.
type typed interface {
	metav1.Object
	runtime.Object
}

// kinds are the known kinds by apiVersion. Kinds of operators have no Go type, so only few rules apply to them.
var kinds = map[string][]string{
	"v1":                              {"ConfigMap", "Namespace", "Secret", "Service", "ServiceAccount"},
	"admissionregistration.k8s.io/v1": {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
	"apiextensions.k8s.io/v1":         {"CustomResourceDefinition"},
	"apps/v1":                         {"DaemonSet", "Deployment", "StatefulSet"},
	"autoscaling/v2":                  {"HorizontalPodAutoscaler"},
	"batch/v1":                        {"CronJob", "Job"},
	"networking.k8s.io/v1":            {"Ingress", "NetworkPolicy"},
	"policy/v1":                       {"PodDisruptionBudget"},
	"rbac.authorization.k8s.io/v1":    {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"scheduling.k8s.io/v1":            {"PriorityClass"},
	"cert-manager.io/v1":              {"Certificate"},
	"postgresql.cnpg.io/v1":           {"Cluster", "Pooler", "ScheduledBackup"},
}

// objects is the input of the rules.
type objects struct {
	environment stack.Environment
	all         []typed
	misread     []Finding
	unread      bool // some objects can't be read
}

func readAll(environment stack.Environment, manifests []Object) objects {
	read := objects{environment: environment}
	for _, manifest := range manifests {
		object, err := readOne(manifest)
		if err != nil {
			read.misread = append(read.misread, Finding{Object: cluster.ObjectOf(manifest).String(), Wrong: err.Error()})
		}
		if object == nil {
			read.unread = true
		} else {
			read.all = append(read.all, object)
		}
	}
	return read
}

// readOne decodes an object strictly. With unknown fields it returns both the object and an error, so that the other rules can check the
// rest.
func readOne(manifest Object) (typed, error) {
	id := cluster.ObjectOf(manifest)
	if !slices.Contains(kinds[id.APIVersion], id.Kind) {
		return nil, fmt.Errorf("no rule knows the kind %q of %q", id.Kind, id.APIVersion)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	empty, err := scheme.Scheme.New(schema.FromAPIVersionAndKind(id.APIVersion, id.Kind))
	if err != nil { // of an operator
		custom := &unstructured.Unstructured{}
		return custom, custom.UnmarshalJSON(content)
	}
	object := empty.(typed)
	unknown, err := strictjson.UnmarshalStrict(content, object)
	if err != nil {
		return nil, err
	}
	return object, errors.Join(unknown...)
}

// of returns the objects of one type.
func of[T typed](o objects) []T {
	var found []T
	for _, object := range o.all {
		if object, ok := object.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// nameOf is the name of an object in findings.
func nameOf(object typed) string {
	return cluster.Object{
		Kind: object.GetObjectKind().GroupVersionKind().Kind, Namespace: object.GetNamespace(), Name: object.GetName(),
	}.String()
}
