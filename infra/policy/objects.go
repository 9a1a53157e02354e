package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	strictjson "sigs.k8s.io/json"

	"platform.example/infra/objectref"
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

// scheme has the Go types of the kinds.
var scheme = func() *runtime.Scheme {
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionv1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme,
		networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme, schedulingv1.AddToScheme,
	} {
		utilruntime.Must(add(all))
	}
	return all
}()

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
			read.misread = append(read.misread, Finding{Object: objectref.Of(manifest).String(), Wrong: err.Error()})
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
	id := objectref.Of(manifest)
	if !slices.Contains(kinds[id.APIVersion], id.Kind) {
		return nil, fmt.Errorf("no rule knows the kind %q of %q", id.Kind, id.APIVersion)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	empty, err := scheme.New(schema.FromAPIVersionAndKind(id.APIVersion, id.Kind))
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
	return objectref.Ref{
		Kind: object.GetObjectKind().GroupVersionKind().Kind, Namespace: object.GetNamespace(), Name: object.GetName(),
	}.String()
}
