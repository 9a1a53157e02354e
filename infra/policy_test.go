package main

import (
	"path/filepath"
	"testing"

	"platform.example/infra/policy"
	"platform.example/infra/stack"
)

// rendered is the objects of a stack, by its configuration in the repository.
func rendered(t *testing.T, name stack.Environment) []policy.Object {
	t.Helper()
	objects, err := render(string(name), filepath.Join("..", "Pulumi."+string(name)+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func TestEveryStackKeepsThePolicy(t *testing.T) {
	for _, name := range []stack.Environment{stack.Local, stack.Staging, stack.Production} {
		t.Run(string(name), func(t *testing.T) {
			objects := rendered(t, name)
			if len(objects) < 80 {
				t.Errorf("only %d objects are rendered", len(objects))
			}
			for _, finding := range policy.Check(name, objects) {
				t.Error(finding)
			}
		})
	}
}
