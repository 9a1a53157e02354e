package smoke

import (
	"strings"
	"testing"

	"platform.example/test/kit"
)

func TestPreviewFindsNoChanges(t *testing.T) {
	shown, err := kit.Run("pulumi", "preview", "--stack", "local", "--expect-no-changes", "--non-interactive")
	if err != nil {
		t.Errorf("%v\n%s", err, shown)
	}
}

func TestStackOutputsMatchTheCluster(t *testing.T) {
	outputs := kit.OutputJSON[struct {
		URL          string `json:"url"`
		DemoPassword string `json:"demoPassword"`
		Services     map[string]struct {
			Colour  string `json:"colour"`
			Digest  string `json:"digest"`
			Version string `json:"version"`
		} `json:"services"`
	}](t, "pulumi", "stack", "output", "--json", "--stack", "local")

	if !strings.HasPrefix(outputs.URL, "https://") {
		t.Errorf("url is %q, want https", outputs.URL)
	}
	if outputs.DemoPassword != "[secret]" {
		t.Error("demoPassword is not shown as [secret]")
	}
	for _, name := range kit.ServiceNames() {
		is := outputs.Services[name]
		if is.Colour != "blue" && is.Colour != "green" {
			t.Errorf("services.%s.colour is %q, want blue or green", name, is.Colour)
		}
		if !strings.Contains(is.Digest, name+"@sha256:") {
			t.Errorf("services.%s.digest is %q, want an image of that name by digest", name, is.Digest)
		}
		running, err := kit.Run("kubectl", "get", "deployment", name+"-"+is.Colour, "--namespace=apps",
			"--output=jsonpath={.spec.template.spec.containers[0].image}")
		if err != nil || running != is.Digest {
			t.Errorf("services.%s.digest is %q, but the live Deployment runs %q (%v)", name, is.Digest, running, err)
		}
		if is.Version == "" {
			t.Errorf("services.%s has no version", name)
		}
	}
}
