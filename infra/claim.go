package main

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/namespace"
)

// unclaimed returns an error if the update would take over objects of another owner, or change the stack's namespaces. A first update
// checks the names of all objects that it would create.
func (p platform) unclaimed(ctx *pulumi.Context, here *cluster.Cluster) error {
	if p.last.cluster != "" {
		recorded, now := p.last.namespaces[namespace.Apps], p.config.NamespacePrefix.Of(namespace.Apps)
		if recorded == "" {
			recorded = string(namespace.Apps) // versions without prefixes had no such output
		}
		if recorded != now {
			return fmt.Errorf("platform:namespacePrefix: the stack runs in namespace %s; namespace %s would be a new one without its data: "+
				"restore the prefix, or destroy the stack first", recorded, now)
		}
		return nil
	}
	manifests, err := p.objects(ctx.Stack())
	if err != nil {
		return err
	}
	var objects []cluster.Object
	for _, manifest := range manifests {
		if object := cluster.ObjectOf(manifest); !strings.HasSuffix(object.Name, generated) {
			objects = append(objects, object)
		}
	}
	return here.Free(ctx.Context(), ctx.Stack(), objects)
}
