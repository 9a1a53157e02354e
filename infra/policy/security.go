package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
	"k8s.io/utils/ptr"
)

// standard checks Pod Security Standards with the library of the API server.
var standard = sync.OnceValues(func() (podsecurity.Evaluator, error) {
	return podsecurity.NewEvaluator(podsecurity.DefaultChecks())
})

// restricted requires the Pod Security Standard of that name, and three more things: a read-only root file system, no added capability,
// and a numeric user, so that no image chooses it, unless no object has one and the cluster assigns it.
func restricted(o objects, found found) {
	const fix = "use the security context of infra/kube"
	evaluator, err := standard()
	if err != nil {
		found("", err.Error(), "update k8s.io/pod-security-admission")
		return
	}
	for _, w := range o.workloads() {
		for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &w.pod.ObjectMeta, &w.pod.Spec) {
			if !result.Allowed {
				found(w.name, result.ForbiddenReason+": "+result.ForbiddenDetail, fix)
			}
		}
	}
	user := func(w workload, own *corev1.SecurityContext) *int64 {
		if pod := w.pod.Spec.SecurityContext; own.RunAsUser == nil && pod != nil {
			return pod.RunAsUser
		}
		return own.RunAsUser
	}
	assigned := !slices.ContainsFunc(o.workloads(), func(w workload) bool { return user(w, &corev1.SecurityContext{}) != nil })
	each(o, found, func(w workload, container corev1.Container) (wrong []string) {
		own := cmp.Or(container.SecurityContext, &corev1.SecurityContext{})
		if user(w, own) == nil && !assigned {
			wrong = append(wrong, "runAsUser is not set")
		}
		if !ptr.Deref(own.ReadOnlyRootFilesystem, false) {
			wrong = append(wrong, "readOnlyRootFilesystem is not true")
		}
		if own.Capabilities != nil && len(own.Capabilities.Add) > 0 {
			wrong = append(wrong, "capabilities.add is not empty")
		}
		return wrong
	}, fix)
}

// enforce is the label for the Pod Security level of a namespace.
const enforce = "pod-security.kubernetes.io/enforce"

func namespaces(o objects, found found) {
	exists := map[string]bool{"": false}
	for _, namespace := range of[*corev1.Namespace](o) {
		exists[namespace.Name] = true
		if level := namespace.Labels[enforce]; level != "restricted" {
			found(nameOf(namespace), fmt.Sprintf("%s is %q", enforce, level), "set it to restricted")
		}
	}
	for _, object := range o.all {
		_, role := object.(*rbacv1.Role)
		_, binding := object.(*rbacv1.RoleBinding)
		if (role || binding) && slices.Contains([]string{"default", "kube-system"}, object.GetNamespace()) {
			continue // for permissions to read Kubernetes' own objects
		}
		if !ofCluster(object) && !exists[object.GetNamespace()] {
			found(nameOf(object), fmt.Sprintf("the stack has no namespace %q", object.GetNamespace()),
				"use a namespace of the stack")
		}
	}
}

// ofCluster reports whether an object is cluster-scoped.
func ofCluster(object typed) bool {
	return slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace", "PriorityClass", "ValidatingAdmissionPolicy",
		"ValidatingAdmissionPolicyBinding"}, object.GetObjectKind().GroupVersionKind().Kind)
}

func accounts(o objects, found found) {
	exists := map[string]bool{}
	for _, account := range of[*corev1.ServiceAccount](o) {
		exists[account.Namespace+"/"+account.Name] = true
	}
	const fix = "add a separate ServiceAccount"
	users := map[string]string{} // applications by account
	for _, w := range o.workloads() {
		name := w.pod.Spec.ServiceAccountName
		account := w.object.GetNamespace() + "/" + name
		switch application := w.pod.Labels[appLabel]; {
		case name == "" || name == "default":
			found(w.name, "uses the default account", fix)
		case !exists[account]:
			found(w.name, fmt.Sprintf("there is no ServiceAccount %s", account), fix)
		case w.job != nil: // Jobs use the account of their application
		case users[account] == "":
			users[account] = application
		case users[account] != application:
			found(w.name, fmt.Sprintf("shares the ServiceAccount %s with %s", account, users[account]), fix)
		}
	}
}

func tokens(o objects, found found) {
	const fix = "set automountServiceAccountToken to false, or add an exception for a pod that uses the API server"
	for _, w := range o.workloads() {
		if ptr.Deref(w.pod.Spec.AutomountServiceAccountToken, true) {
			found(w.name, "mounts a token of its account", fix)
		}
		for _, volume := range w.pod.Spec.Volumes {
			if volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if source.ServiceAccountToken != nil {
					found(w.name, "volume "+volume.Name+" has a token of its account", fix)
				}
			}
		}
	}
}

func rbac(o objects, found found) {
	for _, object := range o.all {
		var rules []rbacv1.PolicyRule
		var bound rbacv1.RoleRef
		switch object := object.(type) {
		case *rbacv1.Role:
			rules = object.Rules
		case *rbacv1.ClusterRole:
			rules = object.Rules
		case *rbacv1.RoleBinding:
			bound = object.RoleRef
		case *rbacv1.ClusterRoleBinding:
			bound = object.RoleRef
		}
		for _, rule := range rules {
			named := slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups)
			if slices.ContainsFunc(named, func(name string) bool { return strings.HasPrefix(name, "*") }) {
				found(nameOf(object), "a rule has a *", "name the needed permissions")
			}
		}
		if bound.Kind == "ClusterRole" && slices.Contains([]string{"cluster-admin", "admin", "edit"}, bound.Name) {
			found(nameOf(object), "binds the role "+bound.Name, "bind a role with the needed permissions")
		}
	}
}
