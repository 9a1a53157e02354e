package preview

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/policy"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// effect is what the deletion or the replacement of an object of a kind means to users.
var effect = map[string]string{
	"Namespace":             "data loss: everything in it is deleted",
	"PersistentVolumeClaim": "data loss: the volume is deleted",
	"Cluster":               "data loss: its instances of Postgres and their volumes are deleted",
	"StatefulSet":           "downtime: its pods restart; its volumes stay",
	"Service":               "downtime: its address changes",
	"Deployment":            "downtime: its pods restart",
	"DaemonSet":             "downtime: its pods restart",
	"Ingress":               "downtime: its routes are missing for some time",
	"ConfigMap":             "none: pods that use it are replaced one after the other",
	"Secret":                "none: pods that use it are replaced one after the other",
}

// Effect describes the consequence of a deletion or replacement. An update deletes objects of a colour only if it has no traffic.
func (c Change) Effect() string {
	if c.Operation == Delete && ofColour.MatchString(c.Object.Name) {
		return "none: it belongs to a version without traffic"
	}
	return cmp.Or(effect[c.Object.Kind], "none")
}

// Write writes the summary as Markdown, which is readable in a terminal too. Reasons are the changed sources by service.
func (p Preview) Write(out io.Writer, environment stack.Environment, reasons map[string][]string) {
	counts := map[Operation]int{}
	for _, change := range p.Changes {
		counts[change.Operation]++
	}
	fmt.Fprintf(out, "### Preview of stack %s\n\n", p.Stack)
	section(out, "The preview failed", p.Errors)
	if len(p.Errors) > 0 {
		return
	}
	if counts[Same] == len(p.Changes) && len(p.Releases) == 0 {
		fmt.Fprintf(out, "No changes: all %d resources stay as they are.\n", len(p.Changes))
	} else {
		fmt.Fprintf(out, "%d to replace, %d to delete, %d to update, %d to create, %d unchanged.\n",
			counts[Replace], counts[Delete], counts[Update], counts[Create], counts[Same])
	}
	var released []string
	for _, sentence := range p.Releases {
		service, _, _ := strings.Cut(strings.ReplaceAll(sentence, ":", " "), " ")
		if files := reasons[service]; len(files) > 0 {
			sentence += "; changed sources: " + strings.Join(files, ", ")
		}
		released = append(released, sentence)
	}
	section(out, "Releases", released)
	section(out, "Image sizes, compressed", p.Sizes)
	section(out, "Replaced and deleted", append(p.list(Replace, Change.Effect), p.list(Delete, Change.Effect)...))
	violations := slice.Map(policy.Check(environment, p.manifests(true)), policy.Finding.String)
	section(out, "Policy", without(violations, slice.Map(policy.Check(environment, p.manifests(false)), policy.Finding.String)))
	section(out, "Permissions and network flows", p.access())
	section(out, "Warnings", p.Warnings)
	cpuBefore, memoryBefore := policy.Requests(environment, p.manifests(false))
	cpuAfter, memoryAfter := policy.Requests(environment, p.manifests(true))
	if cpuBefore != cpuAfter || memoryBefore != memoryAfter {
		section(out, "Resource requests", []string{
			fmt.Sprintf("CPU: %s, before: %s", cpuAfter, cpuBefore), fmt.Sprintf("memory: %s, before: %s", memoryAfter, memoryBefore),
		})
	}
	others := Preview{Changes: slices.DeleteFunc(slices.Clone(p.Changes), func(change Change) bool {
		return len(p.Releases) > 0 && ofColour.MatchString(change.Object.Name) && (change.Operation == Create || change.Operation == Update)
	})}
	changed := append(others.list(Update, fields), others.list(Create, nil)...)
	if colours := len(p.Changes) - len(others.Changes); colours > 0 {
		changed = append(changed, fmt.Sprintf("update or create %d objects of the released versions and their standbys", colours))
	}
	if len(changed) > 0 {
		fmt.Fprintf(out, "\n<details><summary>Updated and created</summary>\n\n- %s\n\n</details>\n", strings.Join(changed, "\n- "))
	}
}

// ofColour matches the names of objects that belong to one version of a service.
var ofColour = regexp.MustCompile(fmt.Sprintf(`-(%s|%s)(-|$)`, release.Blue, release.Green))

// section writes a list under a heading. It writes nothing for an empty list.
func section(out io.Writer, heading string, lines []string) {
	if len(lines) > 0 {
		fmt.Fprintf(out, "\n**%s**\n\n- %s\n", heading, strings.Join(lines, "\n- "))
	}
}

// list describes the changes with an operation.
func (p Preview) list(operation Operation, describe func(Change) string) []string {
	var lines []string
	for _, change := range p.Changes {
		if change.Operation != operation {
			continue
		}
		line := fmt.Sprintf("%s %s", operation, change.Object)
		if describe != nil {
			line += " (" + describe(change) + ")"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// shownFields is the number of changed fields that a line lists.
const shownFields = 4

func fields(change Change) string {
	paths := change.Fields()
	if further := len(paths) - shownFields; further > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:shownFields], ", "), further)
	}
	return strings.Join(paths, ", ")
}

// manifests returns the Kubernetes objects after or before the update.
func (p Preview) manifests(after bool) []policy.Object {
	var manifests []policy.Object
	for _, change := range p.Changes {
		manifest := change.Before
		if after {
			manifest = change.After
		}
		if manifest != nil && manifest["kind"] != nil {
			manifests = append(manifests, manifest)
		}
	}
	return manifests
}

// without returns the elements of a list that the other list doesn't have.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(element string) bool { return slices.Contains(other, element) })
}

// granted are the lists of the kinds of objects that grant access.
var granted = map[string][][]string{
	"Role": {{"rules"}}, "ClusterRole": {{"rules"}},
	"RoleBinding": {{"roleRef"}, {"subjects"}}, "ClusterRoleBinding": {{"roleRef"}, {"subjects"}},
	"NetworkPolicy": {{"spec", "ingress"}, {"spec", "egress"}},
}

// access returns the permissions and network flows that the update adds (+) and removes (-).
func (p Preview) access() []string {
	var lines []string
	for _, change := range p.Changes {
		for _, path := range granted[change.Object.Kind] {
			before, after := entries(change.Before, path...), entries(change.After, path...)
			for _, added := range without(after, before) {
				lines = append(lines, fmt.Sprintf("`+` %s %s: `%s`", change.Object, path[len(path)-1], added))
			}
			for _, removed := range without(before, after) {
				lines = append(lines, fmt.Sprintf("`-` %s %s: `%s`", change.Object, path[len(path)-1], removed))
			}
		}
	}
	return lines
}
