package configfile

import (
	"reflect"
	"testing"
)

func TestDecode(t *testing.T) {
	const file = `# a comment
name: << json .name >> # another
list: << json .list >>
<<- if .limited >>
limit: << .limit >>
<<- end >>
text: "{{ .StartsAt }}"
`
	got := Decode[map[string]any](file, map[string]any{"name": "a: `<b>` \"c\" #d", "list": []string{"e, f", "on"}, "limited": true, "limit": 3})
	want := map[string]any{"name": "a: `<b>` \"c\" #d", "list": []any{"e, f", "on"}, "limit": 3, "text": "{{ .StartsAt }}"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDecodePanicsOnInvalidFiles(t *testing.T) {
	for name, file := range map[string]string{
		"an unknown value": "a: << .other >>", "an unknown function": "a: << other .name >>", "no YAML": "a: [", "another type": "a: b",
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("is accepted")
				}
			}()
			Decode[map[string]int](file, map[string]any{"name": "x"})
		})
	}
}
