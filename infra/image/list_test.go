package image

import (
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestPushList(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/order-service"
	architectures := []string{"amd64", "arm64"}
	var references []string
	for _, architecture := range architectures {
		image, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(repository + ":" + architecture)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, image); err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		references = append(references, repository+"@"+digest.String())
	}
	foretold, err := pushList(t.Context(), references, architectures, true)
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.NewDigest(foretold)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Index(at); err == nil {
		t.Error("a preview pushes it")
	}
	pushed, err := pushList(t.Context(), references, architectures, false)
	if err != nil || pushed != foretold {
		t.Errorf("pushed %s, %v; the preview returned %s", pushed, err, foretold)
	}
	list, err := remote.Index(at)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := list.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range manifest.Manifests {
		got = append(got, entry.Platform.OS+"/"+entry.Platform.Architecture+" "+repository+"@"+entry.Digest.String())
	}
	if want := []string{"linux/amd64 " + references[0], "linux/arm64 " + references[1]}; !reflect.DeepEqual(got, want) {
		t.Errorf("the list is %v, want %v", got, want)
	}
	if _, err := pushList(t.Context(), []string{repository + "@sha256:" + strings.Repeat("0", 64)}, architectures, false); err == nil ||
		!strings.Contains(err.Error(), "manifest list: read "+repository) {
		t.Errorf("without an image: %v", err)
	}
}
