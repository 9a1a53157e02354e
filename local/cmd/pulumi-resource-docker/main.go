// Command pulumi-resource-docker serves docker:index/image:Image through the Docker Engine's API, with the outputs of
// pulumi-docker v4.11.2 and the inputs that the platform uses. It replaces the real plugin on machines that can't
// download it. It ignores .dockerignore: the contexts contain only files that the images need.
package main

import (
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// version is the version of the plugin whose interface this plugin implements.
const version = "4.11.2"

func main() {
	err := provider.Main("docker", func(host *provider.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return &server{host: host}, nil
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-docker:", err)
		os.Exit(1)
	}
}
