package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/preview"
)

// summarise writes a summary of the output of `pulumi preview --json`. With a commit, it lists the sources that changed since.
func summarise(root, name, output, commit string, out io.Writer) error {
	ctx := context.Background()
	config, err := readPlain(ctx, root, name, "")
	if err != nil {
		return err
	}
	file, err := os.Open(output)
	if err != nil {
		return fmt.Errorf("preview of stack %s: %w", name, err)
	}
	defer file.Close() //nolint:errcheck // only read
	found, err := preview.Read(name, file)
	if err != nil {
		return err
	}
	var sources map[string][]string
	if commit != "" {
		if sources, err = preview.Sources(ctx, root, commit, catalog.Services()); err != nil {
			return err
		}
	}
	found.Write(out, config.Environment, sources)
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
	var objects []object
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var manifest object
		if err := yaml.Unmarshal(text, &manifest); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		objects = append(objects, manifest)
		return nil
	})
	if err == nil && len(objects) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("read the rendered manifests in %s: %w: `make render` writes them", folder, err)
	}
	return objects, nil
}
