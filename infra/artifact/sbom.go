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

// SBOM returns an SPDX document in JSON about an image: the modules that its binaries are compiled from, and their licences. Root is the
// folder of the repository. The same image has the same document.
func SBOM(ctx context.Context, root, reference string, binaries []Binary) ([]byte, error) {
	var modules []string
	for _, binary := range binaries {
		for _, module := range binary.Deps {
			modules = append(modules, module.Path+"@"+module.Version)
		}
	}
	slices.Sort(modules)
	modules = slices.Compact(modules)
	licences, err := licences(ctx, root, modules)
	if err != nil {
		return nil, err
	}
	own, err := licence(root)
	if err != nil {
		return nil, err
	}
	type fields map[string]any
	var packages, relations []fields
	add := func(name, version, licence, purl string) {
		id, from, relation := "SPDXRef-image", "SPDXRef-DOCUMENT", "DESCRIBES"
		if len(packages) > 0 {
			id, from, relation = fmt.Sprintf("SPDXRef-module-%d", len(packages)), id, "CONTAINS"
		}
		relations = append(relations, fields{"spdxElementId": from, "relationshipType": relation, "relatedSpdxElement": id})
		packages = append(packages, fields{"SPDXID": id, "name": name, "versionInfo": version, "licenseDeclared": cmp.Or(licence, "NOASSERTION"),
			"licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"externalRefs": []fields{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}})
	}
	first := binaries[0]
	repository, digest, _ := strings.Cut(reference, "@")
	service, golang := path.Base(repository), strings.TrimPrefix(first.GoVersion, "go")
	add(service, first.Version, own, fmt.Sprintf("pkg:oci/%s@%s?repository_url=%s", service, url.QueryEscape(digest), url.QueryEscape(repository)))
	add(first.Path, first.Version, own, "pkg:golang/"+first.Path+"@"+first.Version)
	add("stdlib", golang, "BSD-3-Clause", "pkg:golang/stdlib@"+golang)
	for _, module := range modules {
		name, version, _ := strings.Cut(module, "@")
		add(name, version, licences[name], "pkg:golang/"+name+"@"+url.QueryEscape(version))
	}
	return json.MarshalIndent(fields{
		"SPDXID": "SPDXRef-DOCUMENT", "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "name": reference,
		"documentNamespace": "https://spdx.org/spdxdocs/" + reference, "packages": packages, "relationships": relations,
		"creationInfo": fields{"created": first.Created.UTC().Truncate(time.Second), "creators": []string{"Tool: platform.example/infra"}},
	}, "", " ")
}

// licences returns the licences of modules as SPDX expressions, from the files in their folders. The expression of a module without a file
// of a known licence is empty.
func licences(ctx context.Context, root string, modules []string) (map[string]string, error) {
	found := map[string]string{}
	if len(modules) == 0 {
		return found, nil
	}
	command := exec.CommandContext(ctx, "go", append([]string{"mod", "download", "-json"}, modules...)...)
	command.Dir = filepath.Join(root, "apps") // its go.sum verifies the modules
	command.Env = append(os.Environ(), "GOTOOLCHAIN=auto", "GOWORK=off", "GOFLAGS=")
	printed, err := command.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("read the licences: go mod download: %w: %s", err, printed)
	}
	start := max(0, bytes.IndexByte(printed, '{')) // after lines about the download
	for decoder := json.NewDecoder(bytes.NewReader(printed[start:])); ; {
		var module struct{ Path, Dir string }
		if err := decoder.Decode(&module); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the licences: go mod download: %w", err)
		}
		if found[module.Path], err = licence(module.Dir); err != nil {
			return nil, fmt.Errorf("read the licence of %s: %w", module.Path, err)
		}
	}
}

// licenceFile matches the names of files with licences.
var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying)([-.].*)?$`)

// leastMatch is the percentage of such a file that must be the text of known licences.
const leastMatch = 75

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
