package smoke

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

const maxImageBytes = 20 << 20 // pulled size: compressed layers and configuration

func TestImagesAreSmallAndRunByDigest(t *testing.T) {
	byDigest := regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	for _, service := range kit.ServiceNames() {
		t.Run(service, func(t *testing.T) {
			pods, err := kit.Pods(service)
			if err != nil {
				t.Fatal(err)
			}
			for _, pod := range pods {
				if len(pod.Spec.Containers) != 1 || len(pod.Status.ContainerStatuses) != 1 {
					t.Fatalf("pod %s has %d containers, want 1", pod.Metadata.Name, len(pod.Spec.Containers))
				}
				image := pod.Spec.Containers[0].Image
				if !byDigest.MatchString(image) {
					t.Fatalf("pod %s runs %s, which is no digest", pod.Metadata.Name, image)
				}
				if pulled := pod.Status.ContainerStatuses[0].ImageID; byDigest.FindString(pulled) != byDigest.FindString(image) {
					t.Errorf("pod %s specifies %s and runs %s", pod.Metadata.Name, image, pulled)
				}
				size, err := imageSize(image)
				if err != nil {
					t.Fatal(err)
				}
				if size > maxImageBytes {
					t.Errorf("%s has %d bytes, want at most %d", image, size, maxImageBytes)
				}
			}
		})
	}
}

// imageSize returns the size of an image from its registry.
func imageSize(image string) (int64, error) {
	name, digest, _ := strings.Cut(image, "@")
	registry, repository, _ := strings.Cut(name, "/")
	request, err := http.NewRequest(http.MethodGet, "http://"+registry+"/v2/"+repository+"/manifests/"+digest, nil)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", image, err)
	}
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json")
	response, err := (&http.Client{Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", image, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("size of %s: the registry returns %s (%w)", image, response.Status, err)
	}
	type blob struct {
		Size int64 `json:"size"`
	}
	manifest, err := kit.ParseJSON[struct {
		Config blob   `json:"config"`
		Layers []blob `json:"layers"`
	}](string(content))
	if err != nil || len(manifest.Layers) == 0 {
		return 0, fmt.Errorf("size of %s: the manifest has no layers (%w)", image, err)
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}
