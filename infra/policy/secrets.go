package policy

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

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
			if names(variable.Name, variable.Value) {
				wrong = append(wrong, "it contains the value of "+variable.Name)
			} else {
				wrong = append(wrong, gives("variable "+variable.Name, variable.Value)...)
			}
		}
		for _, argument := range slices.Concat(container.Command, container.Args) {
			wrong = append(wrong, gives("its command", argument)...)
		}
		return wrong
	}, fix)
	for _, config := range of[*corev1.ConfigMap](o) {
		for _, key := range slices.Sorted(maps.Keys(config.Data)) {
			wrong := gives(key, config.Data[key])
			if names(key, config.Data[key]) {
				wrong = []string{"it contains the value of " + key}
			}
			for _, wrong := range wrong {
				found(nameOf(config), wrong, fix)
			}
		}
	}
}

// names reports whether a value is a secret by its name. A path isn't a secret itself.
func names(name, value string) bool {
	return value != "" && !strings.HasPrefix(value, "/") && secretName.MatchString(name)
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
