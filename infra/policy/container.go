package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"platform.example/infra/stack"
)

var digest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func images(o objects, found found) {
	const fix = "use a digest, as in repository@sha256:…"
	judge := func(image string) []string {
		name, pinned, hasDigest := strings.Cut(image, "@")
		_, tag, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
		switch {
		case hasDigest && !digest.MatchString(pinned):
			return []string{fmt.Sprintf("image %q has no sha256 digest after its @", image)}
		case tag == "latest":
			return []string{fmt.Sprintf("image %q has the tag latest", image)}
		case !hasDigest && tag == "":
			return []string{fmt.Sprintf("image %q has neither tag nor digest", image)}
		case !hasDigest && o.environment != stack.Local:
			return []string{fmt.Sprintf("image %q has no digest", image)}
		}
		return nil
	}
	each(o, found, func(_ workload, container corev1.Container) []string { return judge(container.Image) }, fix)
	for _, instances := range o.instances() {
		for _, wrong := range judge(instances.image) {
			found(instances.name, wrong, fix)
		}
	}
}

func resources(o objects, found found) {
	each(o, found, func(_ workload, container corev1.Container) (wrong []string) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			if amount := container.Resources.Requests[name]; amount.Sign() <= 0 {
				wrong = append(wrong, fmt.Sprintf("requests no %s", name))
			}
			if amount := container.Resources.Limits[name]; amount.Sign() <= 0 {
				wrong = append(wrong, fmt.Sprintf("has no limit for %s", name))
			}
		}
		return wrong
	}, "set requests and limits of cpu, memory and ephemeral-storage")
}

func goLimits(o objects, found found) {
	each(o, found, func(_ workload, container corev1.Container) (wrong []string) {
		for _, variable := range container.Env {
			if variable.ValueFrom != nil {
				continue
			}
			switch variable.Name {
			case "GOMEMLIMIT":
				limit := container.Resources.Limits[corev1.ResourceMemory]
				heap, err := resource.ParseQuantity(strings.TrimSuffix(variable.Value, "B"))
				if err != nil || !goSize.MatchString(variable.Value) {
					wrong = append(wrong, fmt.Sprintf("GOMEMLIMIT %q is not a size that Go accepts", variable.Value))
				} else if heap.Cmp(limit) > 0 {
					wrong = append(wrong, fmt.Sprintf("GOMEMLIMIT %s is above the memory limit %s", variable.Value, &limit))
				}
			case "GOMAXPROCS":
				limit := container.Resources.Limits[corev1.ResourceCPU]
				if threads, err := strconv.Atoi(variable.Value); err != nil || threads < 1 || threads > int(limit.Value()) { // rounded up
					wrong = append(wrong, fmt.Sprintf("GOMAXPROCS %s doesn't fit the cpu limit %s", variable.Value, &limit))
				}
			}
		}
		return wrong
	}, "derive it from the limit")
}

// goSize matches the sizes that the Go runtime accepts.
var goSize = regexp.MustCompile(`^[0-9]+(([KMGT]i)?B)?$`)

var (
	// secretName matches names of secrets. Key must be a separate word, so that it doesn't match MONKEY.
	secretName = regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|token|credential|(^|[^a-z])(api|private)?keys?($|[^a-z]))`)

	// secretTexts match secrets in texts.
	secretTexts = map[string]*regexp.Regexp{
		"a private key":      regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`),
		"a URL's password":   regexp.MustCompile(`[a-z]://[^\s/:@$]*:[^\s/:@$]+@`),
		"a store's password": regexp.MustCompile(`(?m)^\s*(requirepass|masterauth|masteruser)\s+["']?[^\s"'$]+`),
		// 22 letters are 128 bits in base64.
		"an assigned secret": regexp.MustCompile(`(?i)(password|passwd|passphrase|secret|token|[^a-z]key)["']?\s*[=:]\s*["']?[a-z0-9+_-]{22}`),
	}
)

func secrets(o objects, found found) {
	const fix = "keep it in a Secret"
	each(o, found, func(_ workload, container corev1.Container) (wrong []string) {
		for _, variable := range container.Env {
			wrong = append(wrong, holds(variable.Name, "variable "+variable.Name, variable.Value)...)
		}
		for _, argument := range slices.Concat(container.Command, container.Args) {
			wrong = append(wrong, gives("its command", argument)...)
		}
		return wrong
	}, fix)
	for _, config := range of[*corev1.ConfigMap](o) {
		for _, key := range slices.Sorted(maps.Keys(config.Data)) {
			for _, wrong := range holds(key, key, config.Data[key]) {
				found(nameOf(config), wrong, fix)
			}
		}
	}
}

// holds returns the secrets in a value: all of it, by its name, or parts. A path isn't a secret itself.
func holds(name, where, value string) []string {
	if value != "" && !strings.HasPrefix(value, "/") && secretName.MatchString(name) {
		return []string{"it contains the value of " + name}
	}
	return gives(where, value)
}

// gives returns the kinds of secrets in a text.
func gives(where, text string) (wrong []string) {
	for _, kind := range slices.Sorted(maps.Keys(secretTexts)) {
		if secretTexts[kind].MatchString(text) {
			wrong = append(wrong, where+" has "+kind)
		}
	}
	return wrong
}
