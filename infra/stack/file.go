package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

// File is where a stack's configuration stands, relative to the project's root.
func File(name string) string { return "Pulumi." + name + ".yaml" }

// ReadFile reads the plain values of a stack's configuration file, as Pulumi hands them to a program: objects and lists as
// JSON. Encrypted ones are left out.
func ReadFile(file string) (map[string]string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var stackFile struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(content, &stackFile); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	values := map[string]string{}
	for key, node := range stackFile.Config {
		text, encrypted, err := fileValue(node)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", file, key, err)
		}
		if name, ours := strings.CutPrefix(key, Namespace+":"); ours && !encrypted {
			values[name] = text
		}
	}
	return values, nil
}

func fileValue(node yaml.Node) (text string, encrypted bool, err error) {
	if node.Kind == yaml.ScalarNode {
		return node.Value, false, nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return "", false, err
	}
	if fields, ok := value.(map[string]any); ok && fields["secure"] != nil {
		return "", true, nil
	}
	content, err := json.Marshal(value)
	return string(content), false, err
}
