// Package v2 registers the resources that manifests describe.
package v2

import (
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// manifest is a resource of any kind. Its type token states the kind.
type manifest struct{ pulumi.CustomResourceState }

// RegisterResource registers a resource of the given API version and kind.
func RegisterResource(ctx *pulumi.Context, apiVersion, kind, name string, properties pulumi.Input,
	options ...pulumi.ResourceOption,
) (pulumi.CustomResource, error) {
	if !strings.Contains(apiVersion, "/") {
		apiVersion = "core/" + apiVersion // the schema's name of the core group
	}
	var resource manifest
	if err := ctx.RegisterResource("kubernetes:"+apiVersion+":"+kind, name, properties, &resource, options...); err != nil {
		return nil, err
	}
	return &resource, nil
}
