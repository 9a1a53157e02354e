package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// schema is what the page shows of a JSON Schema.
type schema struct {
	Ref         string             `json:"$ref"`
	Type        string             `json:"type"`
	Description string             `json:"description"`
	Properties  map[string]*schema `json:"properties"`
	Required    []string           `json:"required"`
	Items       *schema            `json:"items"`
	Enum        []string           `json:"enum"`
	Const       any                `json:"const"`
	Pattern     string             `json:"pattern"`
	Format      string             `json:"format"`
	MinLength   *int               `json:"minLength"`
	MaxLength   *int               `json:"maxLength"`
	MinItems    *int               `json:"minItems"`
	MaxItems    *int               `json:"maxItems"`
	Minimum     *int64             `json:"minimum"`
	Maximum     *int64             `json:"maximum"`
	Examples    []json.RawMessage  `json:"examples"`
}

// maxDepth keeps tables readable: what is deeper has its own in the document.
const maxDepth = 3

// resolve returns the schema with what it refers to in place.
func (s *schema) resolve(all map[string]*schema, depth int) *schema {
	resolved := *s
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		resolved = *all[name]
		if s.Description != "" {
			resolved.Description = s.Description
		}
	}
	if depth == maxDepth {
		return &resolved
	}
	if resolved.Items != nil {
		resolved.Items = resolved.Items.resolve(all, depth+1)
	}
	properties := make(map[string]*schema, len(resolved.Properties))
	for name, property := range resolved.Properties {
		properties[name] = property.resolve(all, depth+1)
	}
	resolved.Properties = properties
	return &resolved
}

// Field is one row of the table of an object.
type Field struct {
	Name, Kind, Limits, Description string
	Required                        bool
}

// Fields are the fields of an object and of those in it, in the order in which
// they are required, with the others after.
func (s *schema) Fields() []Field {
	if s.Items != nil {
		return prefixed("[]", s.Items.Fields())
	}
	names := slices.Clone(s.Required)
	var optional []string
	for name := range s.Properties {
		if !slices.Contains(names, name) {
			optional = append(optional, name)
		}
	}
	slices.Sort(optional)
	var fields []Field
	for _, name := range append(names, optional...) {
		p := s.Properties[name]
		fields = append(fields, Field{
			Name: name, Kind: p.kind(), Limits: p.limits(), Description: p.Description, Required: slices.Contains(s.Required, name),
		})
		separator := "."
		if p.Items != nil {
			separator = ""
		}
		fields = append(fields, prefixed(name+separator, p.Fields())...)
	}
	return fields
}

func prefixed(prefix string, fields []Field) []Field {
	for i := range fields {
		separator := ""
		if prefix == "[]" {
			separator = "."
		}
		fields[i].Name = prefix + separator + fields[i].Name
	}
	return fields
}

func (s *schema) kind() string {
	switch {
	case s.Const != nil:
		return fmt.Sprintf("always %v", s.Const)
	case s.Type == "array" && s.Items != nil:
		return "array of " + s.Items.kind() + "s"
	case s.Format != "":
		return s.Format
	}
	return s.Type
}

func (s *schema) limits() string {
	var limits []string
	between := func(low, high any, lowSet, highSet bool, unit string) {
		switch {
		case lowSet && highSet:
			limits = append(limits, fmt.Sprintf("%v to %v%s", low, high, unit))
		case lowSet:
			limits = append(limits, fmt.Sprintf("at least %v%s", low, unit))
		case highSet:
			limits = append(limits, fmt.Sprintf("at most %v%s", high, unit))
		}
	}
	between(value(s.MinLength), value(s.MaxLength), s.MinLength != nil, s.MaxLength != nil, " characters")
	between(value(s.MinItems), value(s.MaxItems), s.MinItems != nil, s.MaxItems != nil, " of them")
	between(value(s.Minimum), value(s.Maximum), s.Minimum != nil, s.Maximum != nil, "")
	if len(s.Enum) > 0 {
		limits = append(limits, strings.Join(s.Enum, ", "))
	}
	if s.Pattern != "" && !strings.Contains(s.Pattern, "[0-9a-f]{8}") { // an id's is said in words
		limits = append(limits, s.Pattern)
	}
	return strings.Join(limits, "; ")
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// Example is the first example, indented.
func (s *schema) Example() (string, error) {
	var out bytes.Buffer
	if err := json.Indent(&out, s.Examples[0], "", "  "); err != nil {
		return "", err
	}
	return out.String(), nil
}

// compact is the first example on one line.
func (s *schema) compact() string {
	var out bytes.Buffer
	_ = json.Compact(&out, s.Examples[0]) // it was parsed already
	return out.String()
}
