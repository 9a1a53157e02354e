package artifact

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// repository returns a repository in a new registry.
func repository(t *testing.T, options ...registry.Option) name.Repository {
	t.Helper()
	server := httptest.NewServer(registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...))
	t.Cleanup(server.Close)
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/order-service")
	if err != nil {
		t.Fatal(err)
	}
	return repository
}

// push pushes an image and returns its reference.
func push(t *testing.T, repository name.Repository, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at := repository.Digest(digest.String())
	if err := remote.Write(at, image); err != nil {
		t.Fatal(err)
	}
	return at.String()
}

func randomImage(t *testing.T, size int64) (v1.Image, int64) {
	t.Helper()
	image, err := random.Image(size, 2)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return image, manifest.Config.Size + manifest.Layers[0].Size + manifest.Layers[1].Size
}

func TestSizeIsThatOfTheLargestArchitecture(t *testing.T) {
	repository := repository(t)
	small, _ := randomImage(t, 100)
	large, want := randomImage(t, 5000)
	if got, err := Size(t.Context(), push(t, repository, large)); err != nil || got != want || got < 10000 {
		t.Errorf("of an image: %d, %v, want %d", got, err, want)
	}
	list := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: large}, mutate.IndexAddendum{Add: small})
	digest, err := list.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at := repository.Digest(digest.String())
	if err := remote.WriteIndex(at, list); err != nil {
		t.Fatal(err)
	}
	if got, err := Size(t.Context(), at.String()); err != nil || got != want {
		t.Errorf("of a manifest list: %d, %v, want %d", got, err, want)
	}
	for _, reference := range []string{repository.Digest("sha256:" + strings.Repeat("0", 64)).String(), repository.Name() + ":latest"} {
		if _, err := Size(t.Context(), reference); err == nil {
			t.Errorf("%s has a size", reference)
		}
	}
}

// Registries without the API of referrers get a tag.
func TestADocumentIsAttachedOnce(t *testing.T) {
	for title, supported := range map[string]bool{"referrers": true, "a tag": false} {
		t.Run(title, func(t *testing.T) {
			repository := repository(t, registry.WithReferrersSupport(supported))
			image, _ := randomImage(t, 100)
			reference := push(t, repository, image)
			for range 2 {
				if err := Attach(t.Context(), reference, SPDX, []byte("{}")); err != nil {
					t.Fatal(err)
				}
			}
			if err := Attach(t.Context(), reference, "application/vnd.example+json", []byte("[]")); err != nil {
				t.Fatal(err)
			}
			at, err := name.NewDigest(reference)
			if err != nil {
				t.Fatal(err)
			}
			referrers, err := remote.Referrers(at)
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := referrers.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]string{}
			for _, entry := range manifest.Manifests {
				attached, err := remote.Image(repository.Digest(entry.Digest.String()))
				if err != nil {
					t.Fatal(err)
				}
				layers, err := attached.Layers()
				if err != nil || len(layers) != 1 {
					t.Fatalf("%d layers, %v", len(layers), err)
				}
				content, err := layers[0].Compressed()
				if err != nil {
					t.Fatal(err)
				}
				var text bytes.Buffer
				if _, err := text.ReadFrom(content); err != nil {
					t.Fatal(err)
				}
				found[entry.ArtifactType] += text.String()
			}
			if want := map[string]string{SPDX: "{}", "application/vnd.example+json": "[]"}; !reflect.DeepEqual(found, want) {
				t.Errorf("attached %v, want %v", found, want)
			}
		})
	}
}

func TestNothingIsAttachedToAMissingImage(t *testing.T) {
	reference := repository(t).Digest("sha256:" + strings.Repeat("0", 64)).String()
	if err := Attach(t.Context(), reference, SPDX, []byte("{}")); err == nil {
		t.Error("it is attached")
	}
}

// program is an image of a small program that uses one module of the services.
func program(t *testing.T) v1.Image {
	t.Helper()
	folder := t.TempDir()
	sums, err := os.ReadFile("../../apps/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"go.mod":  "module example.com/shop\n\ngo 1.26\n\nrequire golang.org/x/sync v0.0.0\n",
		"go.sum":  string(sums),
		"main.go": "package main\n\nimport \"golang.org/x/sync/errgroup\"\n\nfunc main() { _ = new(errgroup.Group).Wait() }\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(strings.ReplaceAll(text, "v0.0.0", syncVersion(t))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-trimpath", "-buildvcs=false", "-o", "app", ".")
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if printed, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	content, err := os.ReadFile(filepath.Join(folder, "app"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := crane.Image(map[string][]byte{"app": content})
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{Labels: map[string]string{"org.opencontainers.image.version": "0123456789ab"}})
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.CreatedAt(image, v1.Time{Time: time.Date(2026, 3, 14, 9, 26, 53, 5, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// syncVersion is the version of golang.org/x/sync in the services.
func syncVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../apps/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`golang.org/x/sync (v\S+)`).FindSubmatch(text)
	if found == nil {
		t.Fatal("apps/go.mod doesn't require golang.org/x/sync")
	}
	return string(found[1])
}

func TestSBOMListsTheModulesOfTheBinary(t *testing.T) {
	repository := repository(t)
	reference := push(t, repository, program(t))
	binaries, err := Binaries(t.Context(), reference)
	if err != nil {
		t.Fatal(err)
	}
	content, err := SBOM(t.Context(), "../..", reference, binaries)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		SPDXID, SpdxVersion, DataLicense, Name, DocumentNamespace string
		CreationInfo                                              struct{ Created string }
		Packages                                                  []struct {
			SPDXID, Name, VersionInfo, LicenseDeclared string
			ExternalRefs                               []struct{ ReferenceLocator string }
		}
		Relationships []struct{ SpdxElementId, RelationshipType, RelatedSpdxElement string }
	}
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	if document.SPDXID != "SPDXRef-DOCUMENT" || document.SpdxVersion != "SPDX-2.3" || document.DataLicense != "CC0-1.0" ||
		document.Name != reference || document.CreationInfo.Created != "2026-03-14T09:26:53Z" {
		t.Errorf("the document is %.400s", content)
	}
	found, ids := map[string]string{}, []string{"SPDXRef-DOCUMENT"}
	for _, p := range document.Packages {
		found[p.ExternalRefs[0].ReferenceLocator] = p.LicenseDeclared
		if slices.Contains(ids, p.SPDXID) {
			t.Errorf("two packages are %s", p.SPDXID)
		}
		ids = append(ids, p.SPDXID)
	}
	for purl, licence := range map[string]string{
		"pkg:golang/golang.org/x/sync@" + syncVersion(t):                       "BSD-3-Clause",
		"pkg:golang/stdlib@" + strings.TrimPrefix(binaries[0].GoVersion, "go"): "BSD-3-Clause",
		"pkg:golang/example.com/shop@0123456789ab":                             "Apache-2.0",
		document.Packages[0].ExternalRefs[0].ReferenceLocator:                  "Apache-2.0",
	} {
		if found[purl] != licence {
			t.Errorf("%s has the licence %q, want %s", purl, found[purl], licence)
		}
	}
	if image := document.Packages[0]; image.Name != "order-service" || image.VersionInfo != "0123456789ab" ||
		!strings.HasPrefix(image.ExternalRefs[0].ReferenceLocator, "pkg:oci/order-service@sha256%3A") {
		t.Errorf("the image is %+v", image)
	}
	if len(document.Relationships) != len(document.Packages) || len(document.Packages) != 4 {
		t.Errorf("%d packages and %d relationships", len(document.Packages), len(document.Relationships))
	}
	for _, relation := range document.Relationships {
		if !slices.Contains(ids, relation.SpdxElementId) || !slices.Contains(ids, relation.RelatedSpdxElement) {
			t.Errorf("%+v names an unknown package", relation)
		}
	}
	again, err := SBOM(t.Context(), "../..", reference, binaries)
	if err != nil || !bytes.Equal(again, content) {
		t.Errorf("the same image has another document: %v", err)
	}
}

func TestAnImageWithoutAGoProgramHasNoSBOM(t *testing.T) {
	repository := repository(t)
	empty, _ := randomImage(t, 100)
	text, err := crane.Image(map[string][]byte{"app": []byte("#!/bin/sh")})
	if err != nil {
		t.Fatal(err)
	}
	for want, image := range map[string]v1.Image{"find /app": empty, "read the modules of /app": text} {
		reference := push(t, repository, image)
		if _, err := Binaries(t.Context(), reference); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLicence(t *testing.T) {
	apache, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	mit, err := os.ReadFile("../uplot/LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":             {map[string]string{"README.md": string(mit)}, ""},
		"one":              {map[string]string{"LICENSE": string(apache)}, "Apache-2.0"},
		"another name":     {map[string]string{"license.md": string(mit)}, "MIT"},
		"two":              {map[string]string{"LICENSE": string(mit), "LICENSE-APACHE": string(apache)}, "Apache-2.0 AND MIT"},
		"twice":            {map[string]string{"LICENSE": string(mit), "COPYING": string(mit)}, "MIT"},
		"the text of none": {map[string]string{"LICENSE": "All rights reserved. See https://opensource.org/licenses/MIT."}, ""},
		"a source":         {map[string]string{"license.go": string(mit)}, ""},
		"mostly other":     {map[string]string{"LICENSE": string(mit) + strings.Repeat("No part of this may be used on a Sunday. ", 200)}, ""},
	} {
		folder := t.TempDir()
		for file, text := range test.files {
			if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := licence(folder); err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}
