package artifact

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/licensecheck"
)

// SPDX is the media type of an SBOM.
const SPDX = "application/spdx+json"

// unknown is SPDX's word for what nobody has found out.
const unknown = "NOASSERTION"

// pack is a package of an SPDX document.
type pack struct {
	ID        string `json:"SPDXID"`
	Name      string `json:"name"`
	Version   string `json:"versionInfo"`
	Location  string `json:"downloadLocation"`
	Analyzed  bool   `json:"filesAnalyzed"`
	Concluded string `json:"licenseConcluded"`
	Declared  string `json:"licenseDeclared"`
	Copyright string `json:"copyrightText"`
	Refs      []ref  `json:"externalRefs"`
}

type ref struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// SBOM returns an SPDX document in JSON about an image: the modules that its binaries are compiled from, and their licences. Root is the
// folder of the repository. The same image has the same document.
func SBOM(ctx context.Context, root, reference string, binaries []Binary) ([]byte, error) {
	modules := modules(binaries)
	licences, err := licences(ctx, root, modules)
	if err != nil {
		return nil, err
	}
	own, err := licence(root)
	if err != nil {
		return nil, err
	}
	repository, digest, _ := strings.Cut(reference, "@")
	var packages []pack
	var relations []relationship
	add := func(name, version, licence, purl string) {
		id := "SPDXRef-image"
		if len(packages) > 0 {
			id = fmt.Sprintf("SPDXRef-module-%d", len(packages))
			relations = append(relations, relationship{"SPDXRef-image", "CONTAINS", id})
		}
		packages = append(packages, pack{ID: id, Name: name, Version: version, Location: unknown, Concluded: unknown, Declared: cmp.Or(licence, unknown),
			Copyright: unknown, Refs: []ref{{"PACKAGE-MANAGER", "purl", purl}}})
	}
	add(path.Base(repository), binaries[0].Version, own,
		fmt.Sprintf("pkg:oci/%s@%s?repository_url=%s", path.Base(repository), url.QueryEscape(digest), url.QueryEscape(repository)))
	add(binaries[0].Path, binaries[0].Version, own, "pkg:golang/"+binaries[0].Path+"@"+binaries[0].Version)
	goVersion := strings.TrimPrefix(binaries[0].GoVersion, "go")
	add("stdlib", goVersion, "BSD-3-Clause", "pkg:golang/stdlib@"+goVersion)
	for _, module := range modules {
		name, version, _ := strings.Cut(module, "@")
		add(name, version, licences[name], "pkg:golang/"+name+"@"+url.QueryEscape(version))
	}
	return json.MarshalIndent(map[string]any{
		"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "name": reference,
		"documentNamespace": "https://spdx.org/spdxdocs/" + reference,
		"creationInfo":      map[string]any{"created": binaries[0].Created.UTC().Truncate(time.Second), "creators": []string{"Tool: " + binaries[0].Main.Path}},
		"packages":          packages,
		"relationships":     append([]relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"}}, relations...),
	}, "", " ")
}

// modules returns the modules that the binaries are compiled from besides their own, as <path>@<version>, without duplicates.
func modules(binaries []Binary) []string {
	var modules []string
	for _, binary := range binaries {
		for _, module := range binary.Deps {
			if module.Replace != nil {
				module = module.Replace
			}
			modules = append(modules, module.Path+"@"+module.Version)
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

var (
	licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-.].*)?$`)
	// leastMatch is the percentage of a file that must be the text of known licences.
	leastMatch = 75.0
)

// licences returns the licences of modules as SPDX expressions, from the files in their folders. The expression of a module without a file
// of a known licence is empty.
func licences(ctx context.Context, root string, modules []string) (map[string]string, error) {
	if len(modules) == 0 {
		return nil, nil
	}
	command := exec.CommandContext(ctx, "go", append([]string{"mod", "download", "-json"}, modules...)...)
	command.Dir = filepath.Join(root, "apps") // its go.sum verifies the modules
	command.Env = append(os.Environ(), "GOTOOLCHAIN=auto", "GOWORK=off", "GOFLAGS=")
	var failure bytes.Buffer
	command.Stderr = &failure
	printed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("read the licences: go mod download: %w: %s%s", err, printed, failure.Bytes())
	}
	found := map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(printed)); ; {
		var module struct{ Path, Dir string }
		if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the licences: %w", err)
		}
		if found[module.Path], err = licence(module.Dir); err != nil {
			return nil, fmt.Errorf("read the licence of %s: %w", module.Path, err)
		}
	}
}

// licence returns the licences of a folder as an SPDX expression, or an empty text.
func licence(folder string) (string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, entry := range entries {
		if !licenceFile.MatchString(entry.Name()) || !entry.Type().IsRegular() || strings.HasSuffix(entry.Name(), ".go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return "", err
		}
		coverage := licensecheck.Scan(text)
		for _, match := range coverage.Match {
			if coverage.Percent >= leastMatch && !match.IsURL {
				ids = append(ids, match.ID)
			}
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND "), nil
}
