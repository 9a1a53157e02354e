package stack

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
)

// Parse parses the namespace's configuration: the texts of plain keys and the names of secret keys. Its error lists all faults with
// path, value and allowed values.
func Parse(name string, services []catalog.Service, plain map[string]string, secret []string) (Stack, error) {
	return parse(name, services, plain, secret, append(rules(services), delivery(secret)...))
}

func parse(name string, services []catalog.Service, plain map[string]string, secret []string, rules []rule) (Stack, error) {
	if err := catalog.Check(services); err != nil {
		return Stack{}, fmt.Errorf("stack %s: %w", name, err)
	}
	found := faults{}
	values := flatten(plain, found)
	stack := Stack{Name: name, Environment: Environment(cmp.Or(values["environment"], name))}
	if !slices.Contains([]Environment{Local, Staging, Production}, stack.Environment) {
		return Stack{}, fmt.Errorf("stack %s: %s:environment: %q: want %s: a stack with another name must set it",
			name, Namespace, values["environment"], wantEnvironment)
	}
	settings := stack.settings(services)
	for _, setting := range settings {
		found.add(setting.path, setting.apply(stack.Environment, values))
	}
	stack.inherit(services)
	for _, condition := range rules {
		if !found.any(condition.paths...) {
			found.add(condition.paths[0], condition.check(stack))
		}
	}
	for _, required := range catalog.Secrets(services, stack.Environment == Local) {
		if !slices.Contains(secret, required.Name) {
			found.add(required.Name, secretProblem(name, values, required.Name))
		}
	}
	for _, optional := range catalog.GivenSecrets(false) {
		if _, plain := values[optional.Name]; plain {
			found.add(optional.Name, fmt.Sprintf("stored in plain text: set it again with `pulumi config set --secret %s:%s --stack %s`",
				Namespace, optional.Name, name))
		}
	}
	known := knownPaths(settings, services)
	for _, path := range append(slices.Collect(maps.Keys(values)), secret...) {
		if !slices.Contains(known, path) {
			found.add(path, "unknown key: the nearest known one is "+Namespace+":"+nearest(path, known))
		}
	}
	return stack, found.err(name)
}

// ParsePlain is Parse without a check of the secrets.
func ParsePlain(name string, services []catalog.Service, plain map[string]string) (Stack, error) {
	return parse(name, services, plain, slice.Map(catalog.Secrets(services, true), secretName), rules(services))
}

// apply sets the field from the text or else the default. It returns the fault, if any.
func (s setting) apply(environment Environment, values map[string]string) string {
	if s.entries != nil {
		*s.entries = take(values, s.path)
	}
	text, set := values[s.path]
	if !set {
		text = s.unset.in(environment)
	}
	if !set && text == "" {
		return ""
	}
	if s.read == nil || s.read(text) != nil {
		return fmt.Sprintf("%q: want %s", password.ReplaceAllString(text, "//$1:xxxxx@"), s.want)
	}
	return ""
}

// password matches the user and the password of a URL, which errors must not show.
var password = regexp.MustCompile(`//([^/@:]*):[^/@]*@`)

// take removes the values below a path and returns them, or nil for none.
func take(values map[string]string, path string) map[string]string {
	var taken map[string]string
	for key, text := range values {
		if below, found := strings.CutPrefix(key, path+"."); found {
			if taken == nil {
				taken = map[string]string{}
			}
			taken[below] = text
			delete(values, key)
		}
	}
	return taken
}

func secretProblem(stack string, values map[string]string, name string) string {
	if _, plain := values[name]; plain {
		return fmt.Sprintf("stored in plain text: remove it with `pulumi config rm %s:%s --stack %s`, "+
			"then run `make secrets STACK=%s`", Namespace, name, stack, stack)
	}
	return fmt.Sprintf("missing secret: run `make secrets STACK=%s`", stack)
}

func secretName(secret catalog.Secret) string { return secret.Name }

func knownPaths(settings []setting, services []catalog.Service) []string {
	secrets := append(catalog.Secrets(services, true), catalog.GivenSecrets(false)...)
	return append(slice.Map(settings, func(s setting) string { return s.path }), slice.Map(secrets, secretName)...)
}

// nearest is the known path with the smallest edit distance, ignoring case.
func nearest(path string, known []string) string {
	edits := func(candidate string) int {
		return levenshtein.Distance(strings.ToLower(path), strings.ToLower(candidate), nil)
	}
	return slices.MinFunc(known, func(a, b string) int { return edits(a) - edits(b) })
}

// faults maps paths to faults.
type faults map[string]string

func (f faults) add(path, problem string) {
	if problem != "" {
		f[path] = problem
	}
}

func (f faults) any(paths ...string) bool {
	return slices.ContainsFunc(paths, func(path string) bool { return f[path] != "" })
}

func (f faults) err(stack string) error {
	return errors.Join(slice.Map(slices.Sorted(maps.Keys(f)), func(path string) error {
		return fmt.Errorf("stack %s: %s:%s: %s", stack, Namespace, path, f[path])
	})...)
}

// Setting returns the text of one setting, inside of an object or with dots in its key. It is empty if the setting isn't set.
func Setting(plain map[string]string, path string) string { return flatten(plain, faults{})[path] }

// flatten turns objects, which Pulumi passes as JSON, into one text per leaf: gateway = {"type":"NodePort"} becomes
// edge.type = NodePort. A path that is set by two keys is a fault, since neither has precedence.
func flatten(plain map[string]string, found faults) map[string]string {
	flat := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		leaves := map[string]string{key: plain[key]}
		if object, ok := object(plain[key]); ok {
			delete(leaves, key)
			spread(leaves, key, object)
		}
		for path, text := range leaves {
			if _, twice := flat[path]; twice {
				found.add(path, fmt.Sprintf("set twice: inside of an object and as a key with dots: remove the key %q", Namespace+":"+path))
			}
			flat[path] = text
		}
	}
	return flat
}

func object(text string) (map[string]any, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a float64 prints 30080 as 3.008e+04
	var object map[string]any
	err := decoder.Decode(&object)
	return object, err == nil && object != nil
}

func spread(flat map[string]string, path string, object map[string]any) {
	for key, value := range object {
		switch value := value.(type) {
		case map[string]any:
			spread(flat, path+"."+key, value)
		case []any: // as listOf parses it
			flat[path+"."+key] = strings.Join(slice.Map(value, func(one any) string { return fmt.Sprint(one) }), ",")
		case nil:
			flat[path+"."+key] = ""
		default:
			flat[path+"."+key] = fmt.Sprint(value)
		}
	}
}

// mostBytes is the maximum size of a value. Pulumi passes the configuration to the program in one environment variable, and Linux
// limits that to 128 KiB.
const mostBytes = 100_000

// Fits returns an error if a value is too large for Pulumi to pass it to the program.
func Fits(name string, values map[string]string) error {
	var faults []error
	for key, text := range values {
		if len(text) > mostBytes {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: %d KB: Pulumi can't pass more than %d KB to the program in an environment "+
				"variable: keep only the certificates of a bundle that sign this store's certificate",
				name, Namespace, key, len(text)/1000, mostBytes/1000))
		}
	}
	return errors.Join(faults...)
}
