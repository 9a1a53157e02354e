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

// standard is the Pod Security Standard "restricted", in the words of the library with which API servers enforce it.
var standard = sync.OnceValues(func() (podsecurity.Evaluator, error) {
	return podsecurity.NewEvaluator(podsecurity.DefaultChecks())
})

// restricted is the Pod Security Standard of that name, and three things more: a read-only root, no added capability, and a user
// that the object names by number, so that no image decides; or the cluster does, where no object names one.
func restricted(o objects, found found) {
	const fix = "give it the security context that all have, from infra/kube"
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
			wrong = append(wrong, "runAsUser names no user")
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

// enforce is the label by which a namespace admits pods.
const enforce = "pod-security.kubernetes.io/enforce"

func namespaces(o objects, found found) {
	made := map[string]bool{"": false}
	for _, namespace := range of[*corev1.Namespace](o) {
		made[namespace.Name] = true
		if level := namespace.Labels[enforce]; level != "restricted" {
			found(nameOf(namespace), fmt.Sprintf("%s is %q", enforce, level), "make it restricted")
		}
	}
	for _, object := range o.all {
		_, role := object.(*rbacv1.Role)
		_, binding := object.(*rbacv1.RoleBinding)
		if (role || binding) && slices.Contains([]string{"default", "kube-system"}, object.GetNamespace()) {
			continue // a right to read what Kubernetes itself runs stands there
		}
		if !ofCluster(object) && !made[object.GetNamespace()] {
			found(nameOf(object), fmt.Sprintf("the stack makes no namespace %q", object.GetNamespace()),
				"put it into one of the stack's own")
		}
	}
}

// ofCluster reports whether an object is of a kind that is in no namespace.
func ofCluster(object typed) bool {
	return slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"},
		object.GetObjectKind().GroupVersionKind().Kind)
}

func accounts(o objects, found found) {
	made := map[string]bool{}
	for _, account := range of[*corev1.ServiceAccount](o) {
		made[account.Namespace+"/"+account.Name] = true
	}
	const fix = "give it a ServiceAccount of its own"
	users := map[string]string{} // the application that uses an account
	for _, w := range o.workloads() {
		name := w.pod.Spec.ServiceAccountName
		account := w.object.GetNamespace() + "/" + name
		switch application := w.pod.Labels[appLabel]; {
		case name == "" || name == "default":
			found(w.name, "runs as the account that everybody has", fix)
		case !made[account]:
			found(w.name, fmt.Sprintf("there is no ServiceAccount %s", account), fix)
		case w.ends: // prepares something for the application whose account it has
		case users[account] == "":
			users[account] = application
		case users[account] != application:
			found(w.name, fmt.Sprintf("shares the ServiceAccount %s with %s", account, users[account]), fix)
		}
	}
}

func tokens(o objects, found found) {
	const fix = "set automountServiceAccountToken to false; a pod that asks the API server is named in the exceptions"
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
	judge := func(object typed, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			named := slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups)
			if slices.ContainsFunc(named, func(name string) bool { return strings.HasPrefix(name, "*") }) {
				found(nameOf(object), "a rule has a *", "name what is needed")
			}
		}
	}
	for _, role := range of[*rbacv1.Role](o) {
		judge(role, role.Rules)
	}
	for _, role := range of[*rbacv1.ClusterRole](o) {
		judge(role, role.Rules)
	}
	bound := func(object typed, role rbacv1.RoleRef) {
		if role.Kind == "ClusterRole" && slices.Contains([]string{"cluster-admin", "admin", "edit"}, role.Name) {
			found(nameOf(object), "gives the role "+role.Name, "bind a role that names what is needed")
		}
	}
	for _, binding := range of[*rbacv1.RoleBinding](o) {
		bound(binding, binding.RoleRef)
	}
	for _, binding := range of[*rbacv1.ClusterRoleBinding](o) {
		bound(binding, binding.RoleRef)
	}
}
