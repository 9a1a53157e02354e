// Command pulumi is what the tests of the command secrets find as pulumi on PATH.
package main

import (
	"fmt"
	"os"

	"platform.example/infra/cmd/secrets/pulumitest"
)

func main() {
	if err := pulumitest.StandIn(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
}
