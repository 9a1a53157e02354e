// Command pulumi-resource-kubernetes is Pulumi's plugin for Kubernetes. The module's
// own main package embeds files that only its release build generates: stripped
// copies of schema.json and terraform-mapping.json. The builder adds the module's two
// files to this folder by an overlay.
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
