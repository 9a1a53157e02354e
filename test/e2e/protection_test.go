package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestProtectedStoresAreNotDeletedOrReplaced(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if printed, err := upFrom(root); err != nil { // remove the protection again
			t.Errorf("%v\n%s", err, printed)
		}
	})
	check := unharmed(t)
	clone := copyOfTheClone(t)
	output(t, "cp", "--remove-destination", "--dereference", filepath.Join(root, "Pulumi.local.yaml"), clone) // a separate configuration
	in := func(command string) (string, error) {
		return attempt("bash", "-c", "cd '"+clone+"' && ("+command+") 2>&1")
	}
	const update = "pulumi up --stack local --yes --skip-preview --non-interactive"
	if printed, err := in("pulumi config set platform:protectData true --stack local && " + update); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, test := range []struct{ name, command, protected string }{
		{"destroying the stack", "pulumi destroy --stack local --yes --non-interactive", "StatefulSet::postgres"},
		{"a change that removes a store", "pulumi config set platform:postgres.address 192.0.2.7:5432 --path --stack local && " + update, "StatefulSet::postgres"},
	} {
		t.Run(test.name, func(t *testing.T) {
			printed, err := in(test.command)
			if err == nil || !strings.Contains(printed, test.protected) || !strings.Contains(printed, "protect") {
				t.Errorf("%v: the output is\n%s", err, printed)
			}
			check()
		})
	}
}
