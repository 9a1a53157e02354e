// Command pulumi-resource-docker serves docker:index/image:Image with the outputs of
// pulumi-docker v4.11.2 and those of its inputs that the platform sets, through the
// Docker Engine's API. It stands in for the real plugin on machines that can't
// download it. It reads no .dockerignore: the contexts hold what the images need.
package main

import (
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// version is that of the plugin whose interface this one serves.
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
