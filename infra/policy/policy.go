// Package policy has the rules that hold for every Kubernetes object of the platform, before there is a cluster.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"platform.example/infra/stack"
)

// Object is a Kubernetes object: JSON values, numbers as int.
type Object map[string]any

// Finding is an object that breaks a rule.
type Finding struct {
	Rule   string
	Object string // such as Deployment apps/user-service-blue
	Wrong  string // what is wrong, and what would be right
}

// String is the finding in one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Object, f.Rule, f.Wrong) }

// rule looks at one object, or at a pod's template, among all of a stack.
type rule struct {
	name  string
	check func(s scene, found func(wrong string, args ...any))
}

// scene is what a rule sees.
type scene struct {
	stack  stack.Environment
	object Object
	all    []Object
}

// Check is every breach of a rule by the objects of a stack, in the order of the objects.
func Check(environment stack.Environment, objects []Object) []Finding {
	var findings []Finding
	for _, object := range objects {
		for _, rule := range rules() {
			rule.check(scene{environment, object, objects}, func(wrong string, args ...any) {
				findings = append(findings, Finding{rule.name, object.name(), fmt.Sprintf(wrong, args...)})
			})
		}
	}
	return findings
}

func rules() []rule {
	return slices.Concat(podRules(), workloadRules(), networkRules(), namespaceRules())
}

func (o Object) kind() string { return o.text("kind") }

func (o Object) namespace() string { return o.text("metadata", "namespace") }

func (o Object) name() string {
	if o.namespace() == "" {
		return o.kind() + " " + o.text("metadata", "name")
	}
	return o.kind() + " " + o.namespace() + "/" + o.text("metadata", "name")
}

// at follows names and indexes.
func (o Object) at(path ...any) any {
	var value any = map[string]any(o)
	for _, step := range path {
		switch step := step.(type) {
		case string:
			fields, _ := value.(map[string]any)
			value = fields[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func (o Object) text(path ...any) string {
	text, _ := o.at(path...).(string)
	return text
}

func (o Object) part(path ...any) Object {
	part, _ := o.at(path...).(map[string]any)
	return part
}

func (o Object) list(path ...any) []Object {
	items, _ := o.at(path...).([]any)
	var list []Object
	for _, item := range items {
		if fields, ok := item.(map[string]any); ok {
			list = append(list, fields)
		}
	}
	return list
}

// number is -1 where there is none.
func (o Object) number(path ...any) int {
	if number, ok := o.at(path...).(int); ok {
		return number
	}
	return -1
}

// pod is the template of the pods that the object makes; nil if it makes none.
func (o Object) pod() Object {
	switch o.kind() {
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
		return o.part("spec", "template")
	default:
		return nil
	}
}

// serves reports whether its pods run until they are stopped.
func (o Object) serves() bool { return o.pod() != nil && o.kind() != "Job" }

// containers is those of a pod's template, the ones that prepare it included.
func (o Object) containers() []Object {
	return append(o.list("spec", "initContainers"), o.list("spec", "containers")...)
}

// selects reports whether labels have all that a selector asks for; an empty selector takes everything.
func selects(selector, labels Object) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// some is the first of the objects that fits.
func (s scene) some(kind string, fits func(Object) bool) Object {
	for _, object := range s.all {
		if object.kind() == kind && fits(object) {
			return object
		}
	}
	return nil
}

// quantity is an amount in Kubernetes' notation, in thousandths of a core or in bytes; -1 for one that it can't read.
func quantity(text string) float64 {
	for suffix, unit := range map[string]float64{"m": 1, "Ki": 1 << 10, "KiB": 1 << 10, "Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30} {
		digits, found := strings.CutSuffix(text, suffix)
		var amount float64
		if n, err := fmt.Sscanf(digits, "%g", &amount); found && n == 1 && err == nil && strings.Trim(digits, "0123456789.") == "" {
			return amount * unit
		}
	}
	return -1
}
