package policy

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"platform.example/infra/stack"
)

var (
	byDigest = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)
	byTag    = regexp.MustCompile(`^[^@\s]+:[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	// secretName is what names of variables with secrets have in them. A file that holds one may be named in the open.
	secretName = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|PRIVATE|_KEYS?$`)
)

// podRules are about the pods that any object makes.
func podRules() []rule {
	each := func(name string, check func(s scene, container Object, found func(string, ...any))) rule {
		return rule{name, func(s scene, found func(string, ...any)) {
			for _, container := range s.object.pod().containers() {
				check(s, container, func(wrong string, args ...any) {
					found("container %s: %s", container.text("name"), fmt.Sprintf(wrong, args...))
				})
			}
		}}
	}
	return []rule{
		each("an image is pinned", imageIsPinned),
		each("a container asks for CPU and memory and is limited", isLimited),
		each("Go's own limits are in step", goIsInStep),
		each("a container has no rights", hasNoRights),
		each("a server is probed", isProbed),
		each("no secret stands in the open", hidesSecrets),
		{"a pod runs as a user who is nobody", podIsRestricted},
		{"a pod has nothing of its node", podIsApart},
		{"a pod has an account of its own and no token", podHasNoToken},
		{"a pod has a priority", podHasAPriority},
	}
}

func imageIsPinned(s scene, container Object, found func(string, ...any)) {
	image := container.text("image")
	switch {
	case byDigest.MatchString(image):
	case s.stack != stack.Local:
		found("%q: want an image by its digest", image)
	case !byTag.MatchString(image) || strings.HasSuffix(image, ":latest"):
		found("%q: want an image by a tag that stays", image)
	}
}

func isLimited(_ scene, container Object, found func(string, ...any)) {
	for _, what := range []string{"cpu", "memory", "ephemeral-storage"} {
		for _, bound := range []string{"requests", "limits"} {
			if quantity(container.text("resources", bound, what)) <= 0 {
				found("resources.%s.%s is %q: want an amount", bound, what, container.text("resources", bound, what))
			}
		}
	}
	if request, limit := container.text("resources", "requests", "memory"), container.text("resources", "limits", "memory"); request != limit {
		found("it asks for %s of memory and may use %s: what can't be taken back must be there", request, limit)
	}
}

func goIsInStep(_ scene, container Object, found func(string, ...any)) {
	for _, variable := range container.list("env") {
		value := variable.text("value")
		switch variable.text("name") {
		case "GOMEMLIMIT":
			limit := container.text("resources", "limits", "memory")
			if share := quantity(value) / quantity(limit); !(share > 0.5 && share < 1) {
				found("GOMEMLIMIT %s with a limit of %s: want a bit less than the limit", value, limit)
			}
		case "GOMAXPROCS":
			limit := container.text("resources", "limits", "cpu")
			if cores := math.Ceil(quantity(limit) / 1000); value != fmt.Sprint(cores) {
				found("GOMAXPROCS %s with a limit of %s: want %g", value, limit, cores)
			}
		}
	}
}

func hasNoRights(_ scene, container Object, found func(string, ...any)) {
	rights := container.part("securityContext")
	if rights["readOnlyRootFilesystem"] != true {
		found("readOnlyRootFilesystem is %v: want true", rights["readOnlyRootFilesystem"])
	}
	if rights["allowPrivilegeEscalation"] != false {
		found("allowPrivilegeEscalation is %v: want false", rights["allowPrivilegeEscalation"])
	}
	if rights.at("capabilities", "drop", 0) != "ALL" || rights.at("capabilities", "add") != nil {
		found("capabilities are %v: want ALL dropped and none added", rights.at("capabilities"))
	}
	if rights["privileged"] == true {
		found("it is privileged")
	}
}

func isProbed(s scene, container Object, found func(string, ...any)) {
	for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
		if s.object.serves() && container.part(probe) == nil {
			found("there is no %s", probe)
		}
	}
	patience := func(probe string) int {
		return container.number(probe, "periodSeconds") * container.number(probe, "failureThreshold")
	}
	if s.object.serves() && patience("livenessProbe") <= patience("readinessProbe") {
		found("it is restarted after %d s and taken out after %d s: want it the other way round",
			patience("livenessProbe"), patience("readinessProbe"))
	}
}

func hidesSecrets(_ scene, container Object, found func(string, ...any)) {
	for _, variable := range container.list("env") {
		name, value := variable.text("name"), variable.text("value")
		if value != "" && secretName.MatchString(name) && !strings.HasPrefix(value, "/") {
			found("variable %s has its value in the open: want a Secret", name)
		}
	}
}

func podIsRestricted(s scene, found func(string, ...any)) {
	pod := s.object.pod()
	if pod == nil {
		return
	}
	context := pod.part("spec", "securityContext")
	if context["runAsNonRoot"] != true || context.number("runAsUser") <= 0 {
		found("it runs as user %v: want runAsNonRoot and a number above 0", context["runAsUser"])
	}
	if context.text("seccompProfile", "type") != "RuntimeDefault" {
		found("seccompProfile is %v: want RuntimeDefault", context["seccompProfile"])
	}
	if pod.at("spec", "enableServiceLinks") != false {
		found("enableServiceLinks is %v: want false, or Services change its environment", pod.at("spec", "enableServiceLinks"))
	}
}

func podIsApart(s scene, found func(string, ...any)) {
	spec := s.object.pod().part("spec")
	for _, field := range []string{"hostNetwork", "hostPID", "hostIPC"} {
		if spec[field] == true {
			found("%s is true", field)
		}
	}
	for _, volume := range spec.list("volumes") {
		if volume.part("hostPath") != nil {
			found("volume %s is a folder of its node", volume.text("name"))
		}
	}
	for _, container := range s.object.pod().containers() {
		for _, port := range container.list("ports") {
			if port.number("hostPort") > 0 {
				found("port %d is one of its node", port.number("hostPort"))
			}
		}
	}
}

func podHasNoToken(s scene, found func(string, ...any)) {
	pod := s.object.pod()
	if pod == nil {
		return
	}
	if pod.at("spec", "automountServiceAccountToken") != false {
		found("automountServiceAccountToken is %v: want false", pod.at("spec", "automountServiceAccountToken"))
	}
	account := pod.text("spec", "serviceAccountName")
	there := s.some("ServiceAccount", func(o Object) bool {
		return o.namespace() == s.object.namespace() && o.text("metadata", "name") == account
	})
	if there == nil {
		found("serviceAccountName is %q: want an account that is made for it", account)
	}
}

func podHasAPriority(s scene, found func(string, ...any)) {
	pod := s.object.pod()
	if pod == nil {
		return
	}
	class := pod.text("spec", "priorityClassName")
	if s.some("PriorityClass", func(o Object) bool { return o.text("metadata", "name") == class }) == nil {
		found("priorityClassName is %q: want one that is made", class)
	}
	if s.object.kind() == "Job" && !slices.Contains([]string{"Never", "OnFailure"}, pod.text("spec", "restartPolicy")) {
		found("restartPolicy is %q: want Never or OnFailure", pod.text("spec", "restartPolicy"))
	}
}
