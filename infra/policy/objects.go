package policy

import (
	"encoding/json"
	"errors"
	"fmt"

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
	strictjson "sigs.k8s.io/json"

	"platform.example/infra/stack"
)

// typed is an object read as what it is.
type typed interface {
	metav1.Object
	runtime.Object
}

// kinds is every kind that the rules know, by apiVersion and kind. What other people's operators define has no type
// here and is left to them.
var kinds = map[[2]string]func() typed{
	{"v1", "ConfigMap"}:                                    func() typed { return &corev1.ConfigMap{} },
	{"v1", "Namespace"}:                                    func() typed { return &corev1.Namespace{} },
	{"v1", "Secret"}:                                       func() typed { return &corev1.Secret{} },
	{"v1", "Service"}:                                      func() typed { return &corev1.Service{} },
	{"v1", "ServiceAccount"}:                               func() typed { return &corev1.ServiceAccount{} },
	{"apps/v1", "DaemonSet"}:                               func() typed { return &appsv1.DaemonSet{} },
	{"apps/v1", "Deployment"}:                              func() typed { return &appsv1.Deployment{} },
	{"apps/v1", "StatefulSet"}:                             func() typed { return &appsv1.StatefulSet{} },
	{"autoscaling/v2", "HorizontalPodAutoscaler"}:          func() typed { return &autoscalingv2.HorizontalPodAutoscaler{} },
	{"batch/v1", "CronJob"}:                                func() typed { return &batchv1.CronJob{} },
	{"batch/v1", "Job"}:                                    func() typed { return &batchv1.Job{} },
	{"networking.k8s.io/v1", "Ingress"}:                    func() typed { return &networkingv1.Ingress{} },
	{"networking.k8s.io/v1", "NetworkPolicy"}:              func() typed { return &networkingv1.NetworkPolicy{} },
	{"policy/v1", "PodDisruptionBudget"}:                   func() typed { return &policyv1.PodDisruptionBudget{} },
	{"rbac.authorization.k8s.io/v1", "ClusterRole"}:        func() typed { return &rbacv1.ClusterRole{} },
	{"rbac.authorization.k8s.io/v1", "Role"}:               func() typed { return &rbacv1.Role{} },
	{"rbac.authorization.k8s.io/v1", "RoleBinding"}:        func() typed { return &rbacv1.RoleBinding{} },
	{"scheduling.k8s.io/v1", "PriorityClass"}:              func() typed { return &schedulingv1.PriorityClass{} },
	{"cert-manager.io/v1", "Certificate"}:                  func() typed { return &unstructured.Unstructured{} },
	{"rbac.authorization.k8s.io/v1", "ClusterRoleBinding"}: func() typed { return &rbacv1.ClusterRoleBinding{} },
}

// objects is what the rules look at.
type objects struct {
	environment stack.Environment
	all         []typed
	misread     []problem
	unread      bool // lacks objects that can't be read at all
}

func readAll(environment stack.Environment, manifests []Object) objects {
	read := objects{environment: environment}
	for _, manifest := range manifests {
		object, err := readOne(manifest)
		if err != nil {
			read.misread = append(read.misread, problem{describe(manifest), err.Error(), "write it as the API defines it"})
		}
		if object == nil {
			read.unread = true
		} else {
			read.all = append(read.all, object)
		}
	}
	return read
}

// readOne reads an object as strictly as the API server can. With fields that nobody knows it returns both the object
// and an error, so that the other rules still judge the rest.
func readOne(manifest Object) (typed, error) {
	version, _ := manifest["apiVersion"].(string)
	kind, _ := manifest["kind"].(string)
	empty, known := kinds[[2]string{version, kind}]
	if !known {
		return nil, fmt.Errorf("no rule knows the kind %q of %q", kind, version)
	}
	content, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	object := empty()
	if custom, ok := object.(*unstructured.Unstructured); ok {
		return custom, custom.UnmarshalJSON(content)
	}
	unknown, err := strictjson.UnmarshalStrict(content, object)
	if err != nil {
		return nil, err
	}
	return object, errors.Join(unknown...)
}

// of is the objects of one type.
func of[T typed](o objects) []T {
	var found []T
	for _, object := range o.all {
		if object, ok := object.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// nameOf is how findings name an object.
func nameOf(object typed) string {
	return join(object.GetObjectKind().GroupVersionKind().Kind, object.GetNamespace(), object.GetName())
}

// describe names an object that can't be read.
func describe(manifest Object) string {
	metadata, _ := manifest["metadata"].(Object)
	text := func(value any) string {
		text, _ := value.(string)
		return text
	}
	return join(text(manifest["kind"]), text(metadata["namespace"]), text(metadata["name"]))
}

func join(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}
