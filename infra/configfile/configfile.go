// Package configfile fills in the configuration files of other programs. They are YAML with actions of text/template between << and >>,
// because some of these programs use {{ and }} themselves.
package configfile

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/template"

	"gopkg.in/yaml.v3"
)

// Decode fills in the text of a file and decodes it. The action json quotes a text, or the texts of a list. Decode panics if that fails,
// or on a key that T lacks, since the files are parts of this program.
func Decode[T any](text string, values map[string]any) (decoded T) {
	file, err := template.New("").Delims("<<", ">>").Option("missingkey=error").Funcs(template.FuncMap{"json": quote}).Parse(text)
	var filled strings.Builder
	if err == nil {
		err = file.Execute(&filled, values)
	}
	if err == nil {
		decoder := yaml.NewDecoder(strings.NewReader(filled.String()))
		decoder.KnownFields(true)
		err = decoder.Decode(&decoded)
	}
	if err != nil {
		panic(fmt.Errorf("fill in a configuration file: %w", err))
	}
	return decoded
}

func quote(value any) (string, error) {
	text, err := json.Marshal(value) // JSON is YAML
	return string(text), err
}
