package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"platform.example/infra/artifact"
	"platform.example/infra/image"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// writeSBOMs writes the SBOM of the live image of each service to .build/sbom/<stack>. With attach, it also attaches it to the image: signed, if
// the stack names a signer, together with the provenance in a file. Only an image with the program that is compiled here has a provenance.
func writeSBOMs(root, name string, attach bool, provenance string, out io.Writer) error {
	ctx := context.Background()
	config, err := readPlain(ctx, root, name, "")
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "pulumi", "stack", "output", "services", "--json", "--stack", name)
	command.Dir, command.Stderr = root, os.Stderr
	printed, err := command.Output()
	if err != nil {
		return fmt.Errorf("stack %s: read its live images: %w", name, err)
	}
	var live map[string]release.Deployed
	if err := json.Unmarshal(printed, &live); err != nil {
		return fmt.Errorf("stack %s: read its live images: %w", name, err)
	}
	folder := filepath.Join(root, ".build", "sbom", name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, service := range slices.Sorted(maps.Keys(live)) {
		reference, file := live[service].Image, filepath.Join(folder, service+".spdx.json")
		binaries, err := artifact.Binaries(ctx, reference)
		if err != nil {
			return fmt.Errorf("stack %s: image %s: %w", name, reference, err)
		}
		document, err := artifact.SBOM(ctx, root, reference, binaries)
		if err != nil {
			return fmt.Errorf("stack %s: image %s: %w", name, reference, err)
		}
		if err := os.WriteFile(file, document, 0o644); err != nil { //nolint:gosec // holds no secret
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", service, file)
		switch {
		case !attach:
			continue
		case config.Signature == stack.Signature{}:
			fmt.Fprintf(out, "%s: the SBOM is attached without a signature, and no provenance: the stack has no signer (platform:signature)\n", service)
			err = artifact.Attach(ctx, reference, artifact.SPDX, document)
		case provenance == "" || !compiledHere(root, service, binaries):
			fmt.Fprintf(out, "%s: no provenance: this run hasn't built the live version\n", service)
			err = image.Attest(ctx, config.Signature, reference, "spdxjson", file)
		default:
			if err = image.Attest(ctx, config.Signature, reference, "spdxjson", file); err == nil {
				err = image.Attest(ctx, config.Signature, reference, "slsaprovenance1", provenance)
			}
		}
		if err != nil {
			return fmt.Errorf("stack %s: %w", name, err)
		}
	}
	return nil
}

// compiledHere reports whether the last build of a service in this folder has these binaries.
func compiledHere(root, service string, binaries []artifact.Binary) bool {
	files, _ := filepath.Glob(filepath.Join(root, ".build", service+"*", "app")) // further architectures have a suffix
	return !slices.ContainsFunc(binaries, func(binary artifact.Binary) bool {
		return !slices.ContainsFunc(files, func(file string) bool {
			content, err := os.ReadFile(file)
			return err == nil && bytes.Equal(content, binary.Content)
		})
	})
}
