package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"platform.example/infra/catalog"
)

// versions compiles every service and returns the version of each: the hash of what goes into its image. It needs
// nothing but the sources, so that a program knows at its start what a change touches.
func versions(ctx context.Context, root string, services []catalog.Service) (map[string]string, error) {
	dockerfile, err := os.ReadFile(dockerfileOf(root))
	if err != nil {
		return nil, fmt.Errorf("read the services' Dockerfile: %w", err)
	}
	found := make([]string, len(services))
	faults := make([]error, len(services))
	var compiling sync.WaitGroup
	for i, service := range services {
		compiling.Go(func() {
			found[i], faults[i] = version(ctx, root, service.Name, dockerfile)
		})
	}
	compiling.Wait()

	byService := map[string]string{}
	for i, service := range services {
		byService[service.Name] = found[i]
	}
	return byService, errors.Join(faults...)
}

func version(ctx context.Context, root, service string, dockerfile []byte) (string, error) {
	binary, err := filepath.Abs(filepath.Join(contextOf(root, service), "app"))
	if err != nil {
		return "", fmt.Errorf("place the binary of %s: %w", service, err)
	}
	if err := compile(ctx, filepath.Join(root, "apps"), service, binary); err != nil {
		return "", fmt.Errorf("compile %s: %w", service, err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("read the binary of %s: %w", service, err)
	}
	hash := sha256.New()
	hash.Write(content)
	hash.Write(dockerfile)
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// compile makes a static binary that is the same to the byte wherever the same Go release makes it. Go's own build
// ID stays in: it is as reproducible as the rest, and it lets an unchanged binary be left as it is.
func compile(ctx context.Context, module, service, binary string) error {
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, "./"+service)
	command.Dir = module
	command.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1",
		"GOWORK=off",            // the versions in the module's own go.mod, whatever other modules ask for
		"GOFLAGS=-mod=readonly", // not what a developer has set for other ends
	)
	output, err := command.CombinedOutput()
	if message := strings.TrimSpace(string(output)); err != nil && message != "" {
		return errors.New(message) // the compiler says it better than the exit status
	}
	return err
}

func contextOf(root, service string) string { return filepath.Join(root, ".build", service) }

func dockerfileOf(root string) string { return filepath.Join(root, "apps", "Dockerfile") }
