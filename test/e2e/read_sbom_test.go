package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"platform.example/test/kit"
)

// The SBOM of order-service lists the driver of Postgres with its licence.
func TestSBOMsListModulesAndLicences(t *testing.T) {
	if printed, err := kit.RunIn(kit.Root, "make sbom STACK=local"); err != nil { // may compile the tools
		t.Fatalf("%v\n%s", err, printed)
	}
	content, err := os.ReadFile(filepath.Join(kit.Root, ".build/sbom/local/order-service.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		Components []struct {
			Name, Version string
			Evidence      struct {
				Licenses []struct{ License struct{ ID string } }
			}
		}
	}
	if err := json.Unmarshal(content, &sbom); err != nil {
		t.Fatal(err)
	}
	for _, component := range sbom.Components {
		if component.Name != "github.com/jackc/pgx/v5" {
			continue
		}
		if licences := component.Evidence.Licenses; component.Version == "" || len(licences) != 1 || licences[0].License.ID != "MIT" {
			t.Errorf("pgx %s has the licences %v, want MIT", component.Version, licences)
		}
		return
	}
	t.Errorf("pgx is not among the %d components", len(sbom.Components))
}
