package preview

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestSizeOfAManifestListIsThatOfTheLargestArchitecture(t *testing.T) {
	repository, err := name.NewRepository(newRepository(t))
	if err != nil {
		t.Fatal(err)
	}
	var list v1.ImageIndex = empty.Index
	want := int64(0)
	for _, bytes := range []int64{100, 5000, 200} {
		image, err := random.Image(bytes, 2)
		if err != nil {
			t.Fatal(err)
		}
		manifest, err := image.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		want = max(want, manifest.Config.Size+manifest.Layers[0].Size+manifest.Layers[1].Size)
		list = mutate.AppendManifests(list, mutate.IndexAddendum{Add: image})
	}
	digest, err := list.Digest()
	if err != nil {
		t.Fatal(err)
	}
	at := repository.Digest(digest.String())
	if err := remote.WriteIndex(at, list); err != nil {
		t.Fatal(err)
	}
	if got, err := size(t.Context(), at.String()); err != nil || got != want {
		t.Errorf("the size is %d (%v), want %d", got, err, want)
	}
	if _, err := size(t.Context(), repository.Name()+":latest"); err == nil {
		t.Error("a tag has a size")
	}
}
