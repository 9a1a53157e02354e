package preview

import (
	"context"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"platform.example/infra/catalog"
)

// Sources returns, by service, what changed in the sources since a commit: folders below apps/ with packages of the service, and files
// that all images depend on.
func Sources(ctx context.Context, root, base string, services []catalog.Service) (map[string][]string, error) {
	root, err := filepath.Abs(root) // go list prints absolute paths
	if err != nil {
		return nil, err
	}
	diff, err := run(ctx, root, "git", "diff", "--name-only", "--relative", base, "--", "apps")
	if err != nil {
		return nil, err
	}
	changed := map[string][]string{}
	for _, service := range services {
		printed, err := run(ctx, filepath.Join(root, "apps"), "go", "list", "-deps", "-f", "{{.Dir}}", "./"+service.Name)
		if err != nil {
			return nil, err
		}
		packages := strings.Fields(printed)
		var found []string
		for file := range strings.FieldsSeq(diff) {
			name, folder := path.Base(file), path.Dir(file)
			switch {
			case strings.HasSuffix(name, "_test.go"):
			case folder == "apps" && slices.Contains([]string{"go.mod", "go.sum", "Dockerfile"}, name):
				found = append(found, file)
			default: // files may be embedded from a folder below the package
				for at := folder; at != "apps" && at != "."; at = path.Dir(at) {
					if slices.Contains(packages, filepath.Join(root, at)) {
						found = append(found, at)
						break
					}
				}
			}
		}
		slices.Sort(found)
		changed[service.Name] = slices.Compact(found)
	}
	return changed, nil
}

func run(ctx context.Context, folder, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = folder
	command.Env = append(command.Environ(), "GOTOOLCHAIN=auto", "GOWORK=off")
	var failure strings.Builder
	command.Stderr = &failure
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(failure.String()))
	}
	return string(printed), nil
}
