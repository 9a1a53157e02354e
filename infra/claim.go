package main

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/namespace"
)

// unclaimed is an error where the stack would take over or leave behind what is on the cluster: a first update looks at every name
// that it is about to create, before it changes anything; a later one keeps to its namespaces.
func (p platform) unclaimed(ctx *pulumi.Context, here *cluster.Cluster) error {
	if p.last.cluster != "" {
		recorded, now := p.last.namespaces[namespace.Apps], p.config.NamespacePrefix.Of(namespace.Apps)
		if recorded == "" {
			recorded = string(namespace.Apps) // outputs of a version that had no prefix
		}
		if recorded != now {
			return fmt.Errorf("platform:namespacePrefix: the stack runs in namespace %s, and %s would be another one, without its data: "+
				"set the prefix back, or destroy the stack first", recorded, now)
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
