package e2e

import (
	"strings"
	"testing"

	"platform.example/test/kit"
)

func TestProtectedStoresAreNotDeletedOrReplaced(t *testing.T) {
	t.Cleanup(func() { kit.Restore(t) }) // removes the protection again
	check := kit.Unharmed(t)
	clone := kit.CopySources(t)
	kit.OwnConfig(t, clone)
	if printed, err := kit.RunIn(clone, "pulumi config set platform:protectData true --stack local && "+kit.Update); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, test := range []struct{ name, command, protected string }{
		{"destroying the stack", "pulumi destroy --stack local --yes --non-interactive", "Cluster::postgres-1"},
		{"a change that removes a store", "pulumi config set platform:postgres.address 192.0.2.7:5432 --path --stack local && " + kit.Update, "Cluster::postgres-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			printed, err := kit.RunIn(clone, test.command)
			if err == nil || !strings.Contains(printed, test.protected) || !strings.Contains(printed, "protect") {
				t.Errorf("%v: the output is\n%s", err, printed)
			}
			check()
		})
	}
}
