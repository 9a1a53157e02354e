package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"platform.example/infra/catalog"
)

// versions compiles all services and returns their versions: the hash of the content of the image. It needs only the sources, so that the
// program knows the changed services at its start.
func versions(ctx context.Context, root string, services []catalog.Service, architectures []string) (map[string]string, error) {
	dockerfile, err := os.ReadFile(dockerfileOf(root))
	if err != nil {
		return nil, fmt.Errorf("read the services' Dockerfile: %w", err)
	}
	found, sums := map[string]string{}, map[string]hash.Hash{}
	for i, architecture := range architectures {
		if err := compile(ctx, root, services, suffix(architectures, i), architecture); err != nil {
			return nil, err
		}
		for _, service := range services {
			path := filepath.Join(binariesOf(root, suffix(architectures, i)), service.Name)
			binary, err := os.ReadFile(path)
			if err = errors.Join(err, place(path, filepath.Join(contextOf(root, service.Name+suffix(architectures, i)), "app"))); err != nil {
				return nil, fmt.Errorf("place the binary of %s: %w", service.Name, err)
			}
			if i == 0 {
				sums[service.Name] = sha256.New()
			}
			sums[service.Name].Write(binary)
		}
	}
	for name, sum := range sums {
		sum.Write(dockerfile)
		found[name] = hex.EncodeToString(sum.Sum(nil))[:12]
	}
	return found, nil
}

// suffix is the suffix of names for further architectures.
func suffix(architectures []string, i int) string {
	if i == 0 {
		return ""
	}
	return "-" + architectures[i]
}

// schema returns the hash of the migrations in a folder, 12 hexadecimal digits, or an empty text without the folder.
func schema(folder string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.sql"))
	if err != nil || len(files) == 0 {
		return "", err
	}
	hash := sha256.New()
	for _, file := range files { // sorted
		content, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the migrations: %w", err)
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(file), len(content), content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// compile builds reproducible static binaries: the same Go release builds the same bytes on all machines. One call for all services
// checks their common packages only once. The binaries keep Go's build ID, which is reproducible too and lets Go skip unchanged ones.
func compile(ctx context.Context, root string, services []catalog.Service, suffix, architecture string) error {
	binaries, err := filepath.Abs(binariesOf(root, suffix))
	if err != nil {
		return fmt.Errorf("place the binaries: %w", err)
	}
	arguments := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binaries + "/"}
	for _, service := range services {
		arguments = append(arguments, "./"+service.Name)
	}
	// The compiler uses all cores. Servers and releases on the same machine have priority.
	command := exec.CommandContext(ctx, "nice", append([]string{"-n", "19", "go"}, arguments...)...)
	command.Dir = filepath.Join(root, "apps")
	command.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+architecture, "GOAMD64=v1",
		"GOTOOLCHAIN=auto",      // the Go release of the module
		"GOWORK=off",            // the versions of the module's own go.mod
		"GOFLAGS=-mod=readonly", // replaces the developer's flags
	)
	output, err := command.CombinedOutput()
	if err != nil { // the compiler's messages are more useful than the exit status
		return fmt.Errorf("compile the services: %s", cmp.Or(strings.TrimSpace(string(output)), err.Error()))
	}
	return nil
}

// place links a binary into the build context of its image, which contains nothing else.
func place(binary, path string) error {
	from, err := os.Stat(binary)
	if err != nil {
		return err
	}
	if to, err := os.Stat(path); err == nil && os.SameFile(from, to) {
		return nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.RemoveAll(path)); err != nil {
		return err
	}
	return os.Link(binary, path)
}

func binariesOf(root, suffix string) string { return filepath.Join(root, ".build", "binaries"+suffix) }

func contextOf(root, service string) string { return filepath.Join(root, ".build", service) }

func dockerfileOf(root string) string { return filepath.Join(root, "apps", "Dockerfile") }

// pushList pushes a manifest list of the images, one per architecture, and returns its reference. With onlyKnown it doesn't push.
func pushList(ctx context.Context, references, architectures []string, onlyKnown bool) (string, error) {
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	list, repository := mutate.IndexMediaType(empty.Index, types.DockerManifestList), name.Repository{}
	for i, reference := range references {
		at, err := name.NewDigest(reference)
		if err != nil {
			return "", err
		}
		image, err := remote.Image(at, options...)
		if err != nil {
			return "", fmt.Errorf("manifest list: read %s: %w", reference, err)
		}
		repository = at.Context()
		list = mutate.AppendManifests(list, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architectures[i]},
		}})
	}
	digest, err := list.Digest()
	if err != nil {
		return "", err
	}
	at := repository.Digest(digest.String())
	if !onlyKnown {
		if err := remote.WriteIndex(at, list, options...); err != nil {
			return "", fmt.Errorf("manifest list: push %s: %w", at, err)
		}
	}
	return at.String(), nil
}
