package stack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flatten turns objects, which Pulumi passes as JSON, into one text per leaf: gateway = {"type":"NodePort"} becomes
// gateway.type = NodePort. A path that is set by two keys is a fault, since neither has precedence.
func flatten(plain map[string]string, found faults) map[string]string {
	flat := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		leaves := map[string]string{key: plain[key]}
		if object, ok := object(plain[key]); ok {
			delete(leaves, key)
			spread(leaves, key, object)
		}
		for path, text := range leaves {
			if _, twice := flat[path]; twice {
				found.add(path, fmt.Sprintf("set twice: inside of an object and as a key with dots: remove the key %q", Namespace+":"+path))
			}
			flat[path] = text
		}
	}
	return flat
}

func object(text string) (map[string]any, bool) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber() // a float64 prints 30080 as 3.008e+04
	var object map[string]any
	err := decoder.Decode(&object)
	return object, err == nil && object != nil
}

// list joins values with commas, as listOf parses them.
func list(values []any) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = fmt.Sprint(value)
	}
	return strings.Join(texts, ",")
}

func spread(flat map[string]string, path string, object map[string]any) {
	for key, value := range object {
		switch value := value.(type) {
		case map[string]any:
			spread(flat, path+"."+key, value)
		case []any:
			flat[path+"."+key] = list(value)
		case nil:
			flat[path+"."+key] = ""
		default:
			flat[path+"."+key] = fmt.Sprint(value)
		}
	}
}
