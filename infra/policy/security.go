package policy

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

func host(o objects) []problem {
	var problems []problem
	for _, w := range o.workloads() {
		add := func(wrong string) {
			problems = append(problems, problem{w.name, wrong, "do without: pods reach what they need through Services and volumes"})
		}
		spec := w.pod.Spec
		for _, shared := range []struct {
			name string
			is   bool
		}{{"hostNetwork", spec.HostNetwork}, {"hostPID", spec.HostPID}, {"hostIPC", spec.HostIPC}} {
			if shared.is {
				add(shared.name + " is true")
			}
		}
		for _, volume := range spec.Volumes {
			if volume.HostPath != nil {
				add(fmt.Sprintf("volume %s is the node's folder %s", volume.Name, volume.HostPath.Path))
			}
		}
		for container := range w.containers() {
			for _, port := range container.Ports {
				if port.HostPort != 0 {
					add(fmt.Sprintf("container %s takes the node's port %d", container.Name, port.HostPort))
				}
			}
		}
	}
	return problems
}

// restricted is the Pod Security Standard of that name, and two things more: a read-only root, and a user that the
// object names by number, so that no image decides; or the cluster does, where no object names one.
func restricted(o objects) []problem {
	assigned := !slices.ContainsFunc(o.workloads(), func(w workload) bool {
		return w.pod.Spec.SecurityContext != nil && w.pod.Spec.SecurityContext.RunAsUser != nil
	})
	problems := each(o, func(w workload, container corev1.Container) (wrong []string) {
		pod, own := w.pod.Spec.SecurityContext, container.SecurityContext
		if pod == nil {
			pod = &corev1.PodSecurityContext{}
		}
		if own == nil {
			own = &corev1.SecurityContext{}
		}
		must := func(holds bool, otherwise string) {
			if !holds {
				wrong = append(wrong, otherwise)
			}
		}
		must(isTrue(first(own.RunAsNonRoot, pod.RunAsNonRoot)), "runAsNonRoot is not true")
		user := first(own.RunAsUser, pod.RunAsUser)
		must(user == nil && assigned || user != nil && *user > 0, "runAsUser names no user but root")
		must(own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation, "allowPrivilegeEscalation is not false")
		must(!isTrue(own.Privileged), "privileged is true")
		must(isTrue(own.ReadOnlyRootFilesystem), "readOnlyRootFilesystem is not true")
		must(own.Capabilities != nil && slices.Contains(own.Capabilities.Drop, "ALL"), "capabilities.drop has not ALL")
		must(own.Capabilities == nil || len(own.Capabilities.Add) == 0, "capabilities.add is not empty")
		profile := first(own.SeccompProfile, pod.SeccompProfile)
		must(profile != nil && profile.Type == corev1.SeccompProfileTypeRuntimeDefault, "seccompProfile is not RuntimeDefault")
		return wrong
	}, "give it the security context that all have, from infra/restricted")
	for _, w := range o.workloads() {
		for _, volume := range w.pod.Spec.Volumes {
			if !admitted(volume) {
				problems = append(problems, problem{w.name, "volume " + volume.Name + " is of a type that restricted pods may not have",
					"use a ConfigMap, a Secret, an emptyDir or a claim"})
			}
		}
	}
	return problems
}

// first is the value that holds: the container's own, or else the pod's.
func first[T any](own, pod *T) *T {
	if own != nil {
		return own
	}
	return pod
}

func isTrue(value *bool) bool { return value != nil && *value }

// admitted reports whether restricted pods may have the volume; the rule host has its own word on the node's folders.
func admitted(volume corev1.Volume) bool {
	return volume.ConfigMap != nil || volume.CSI != nil || volume.DownwardAPI != nil || volume.EmptyDir != nil ||
		volume.Ephemeral != nil || volume.PersistentVolumeClaim != nil || volume.Projected != nil || volume.Secret != nil ||
		volume.HostPath != nil
}

// enforce is the label by which a namespace admits pods.
const enforce = "pod-security.kubernetes.io/enforce"

func namespaces(o objects) []problem {
	var problems []problem
	made := map[string]bool{"": false}
	for _, namespace := range of[*corev1.Namespace](o) {
		made[namespace.Name] = true
		if level := namespace.Labels[enforce]; level != "restricted" {
			problems = append(problems, problem{nameOf(namespace), fmt.Sprintf("%s is %q", enforce, level), "make it restricted"})
		}
	}
	for _, object := range o.all {
		_, role := object.(*rbacv1.Role)
		_, binding := object.(*rbacv1.RoleBinding)
		if (role || binding) && slices.Contains([]string{"default", "kube-system"}, object.GetNamespace()) {
			continue // a right to read what Kubernetes itself runs stands there
		}
		if !ofCluster(object) && !made[object.GetNamespace()] {
			problems = append(problems, problem{nameOf(object), fmt.Sprintf("the stack makes no namespace %q", object.GetNamespace()),
				"put it into one of the stack's own"})
		}
	}
	return problems
}

// ofCluster reports whether an object is of a kind that is in no namespace.
func ofCluster(object typed) bool {
	return slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass"},
		object.GetObjectKind().GroupVersionKind().Kind)
}

func accounts(o objects) []problem {
	made := map[string]bool{}
	for _, account := range of[*corev1.ServiceAccount](o) {
		made[account.Namespace+"/"+account.Name] = true
	}
	const mend = "give it a ServiceAccount of its own"
	users := map[string]string{} // the application that uses an account
	var problems []problem
	for _, w := range o.workloads() {
		name := w.pod.Spec.ServiceAccountName
		account := w.object.GetNamespace() + "/" + name
		switch application := w.pod.Labels[appLabel]; {
		case name == "" || name == "default":
			problems = append(problems, problem{w.name, "runs as the account that everybody has", mend})
		case !made[account]:
			problems = append(problems, problem{w.name, fmt.Sprintf("there is no ServiceAccount %s", account), mend})
		case w.ends: // prepares something for the application whose account it has
		case users[account] == "":
			users[account] = application
		case users[account] != application:
			problems = append(problems, problem{w.name, fmt.Sprintf("shares the ServiceAccount %s with %s", account, users[account]), mend})
		}
	}
	return problems
}

func tokens(o objects) []problem {
	const mend = "set automountServiceAccountToken to false; a pod that asks the API server is named in the exceptions"
	var problems []problem
	for _, w := range o.workloads() {
		if mounts := w.pod.Spec.AutomountServiceAccountToken; mounts == nil || *mounts {
			problems = append(problems, problem{w.name, "mounts a token of its account", mend})
		}
		for _, volume := range w.pod.Spec.Volumes {
			if volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if source.ServiceAccountToken != nil {
					problems = append(problems, problem{w.name, "volume " + volume.Name + " has a token of its account", mend})
				}
			}
		}
	}
	return problems
}

func rbac(o objects) []problem {
	var problems []problem
	judge := func(object typed, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			named := slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups)
			if slices.ContainsFunc(named, func(name string) bool { return strings.HasPrefix(name, "*") }) {
				problems = append(problems, problem{nameOf(object), "a rule has a *", "name what is needed"})
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
			problems = append(problems, problem{nameOf(object), "gives the role " + role.Name, "bind a role that names what is needed"})
		}
	}
	for _, binding := range of[*rbacv1.RoleBinding](o) {
		bound(binding, binding.RoleRef)
	}
	for _, binding := range of[*rbacv1.ClusterRoleBinding](o) {
		bound(binding, binding.RoleRef)
	}
	return problems
}
