// Command pulumi-resource-kubernetes is Pulumi's plugin for Kubernetes. The
// module's own main embeds files that its release build generates and its archive
// lacks; they are the module's schema.json and terraform-mapping.json, stripped. The
// builder lays those two into this folder by an overlay.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var terraformMapping []byte

func main() { provider.Serve("kubernetes", version.Version, schema, terraformMapping) }
