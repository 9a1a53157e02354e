package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"platform.example/infra/catalog"
	"platform.example/infra/preview"
)

// errPreview is the result of a preview that failed. Its summary holds the reasons.
var errPreview = errors.New("the preview failed")

// summarise runs `pulumi preview` and writes a summary. With a commit, it lists the sources that changed since.
func summarise(root, name, commit string, out io.Writer) error {
	ctx := context.Background()
	config, err := readPlain(ctx, root, name, "")
	if err != nil {
		return err
	}
	var output, messages bytes.Buffer
	command := exec.CommandContext(ctx, "pulumi", "preview", "--json", "--show-sames", "--non-interactive", "--stack", name)
	command.Dir, command.Stdout, command.Stderr = root, &output, &messages
	failed := command.Run()
	found, err := preview.Read(name, &output, failed != nil)
	if err != nil {
		found.Errors = []string{"pulumi ended before the preview began: the log of this run has its error"} // which may have an address
		found.Write(out, config.Environment, nil)
		return fmt.Errorf("%w: %w: %s", errPreview, errors.Join(failed, err), strings.TrimSpace(messages.String()))
	}
	build := ""
	if config.Build {
		build = filepath.Join(root, ".build")
	}
	found.Measure(ctx, build)
	var sources map[string][]string
	if commit != "" {
		if sources, err = preview.Sources(ctx, root, commit, catalog.Services()); err != nil {
			return err
		}
	}
	found.Write(out, config.Environment, sources)
	if failed != nil {
		return errPreview
	}
	return nil
}

// compare writes a summary of the differences between two folders with rendered manifests of a stack.
func compare(root, name, before, after string, out io.Writer) error {
	config, err := readPlain(context.Background(), root, name, "")
	if err != nil {
		return err
	}
	old, err := readRendered(before)
	if err != nil {
		return err
	}
	objects, err := readRendered(after)
	if err != nil {
		return err
	}
	preview.Compare(name, old, objects).Write(out, config.Environment, nil)
	return nil
}

// readRendered reads the manifests that render wrote to a folder.
func readRendered(folder string) ([]object, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*", "*.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("find the rendered manifests in %s: %w: `make render` writes them", folder, cmp.Or(err, fs.ErrNotExist))
	}
	var objects []object
	for _, path := range paths {
		var manifest object
		text, err := os.ReadFile(path)
		if err = errors.Join(err, yaml.Unmarshal(text, &manifest)); err != nil {
			return nil, fmt.Errorf("read the rendered manifest %s: %w", path, err)
		}
		objects = append(objects, manifest)
	}
	return objects, nil
}
