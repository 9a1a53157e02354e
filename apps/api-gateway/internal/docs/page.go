package docs

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
)

// Routes returns what adds GET /openapi.json and GET /docs to a router.
func Routes() (func(chi.Router), error) {
	document, err := Document()
	if err != nil {
		return nil, err
	}
	page, err := page()
	if err != nil {
		return nil, err
	}
	// The page has no script, and of styles only its own.
	sum := sha256.Sum256([]byte(pageCSS))
	policy := "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	return func(router chi.Router) {
		router.Get("/openapi.json", serve("application/json", document, nil))
		router.Get("/docs", serve("text/html; charset=utf-8", page, map[string]string{"Content-Security-Policy": policy}))
	}, nil
}

func serve(contentType string, body []byte, headers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range headers {
			w.Header().Set(name, value)
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache") // may be kept, and is asked for again: the next release may differ
		_, _ = w.Write(body)
	}
}

// section is the operations of a tag.
type section struct {
	Tag, Anchor string
	Operations  []shown
}

// shown is an operation with what the page derives.
type shown struct {
	Operation
	Anchor, Curl string
	Request      *schema
	Response     *schema
	Problems     []meaning
}

type meaning struct {
	Status int
	Text   string
}

// page is the whole page, which is the same for everybody.
func page() ([]byte, error) {
	var schemas map[string]*schema
	if err := json.Unmarshal(schemasJSON, &schemas); err != nil {
		return nil, fmt.Errorf("reading the schemas of the API: %w", err)
	}
	var sections []section
	for _, o := range Operations() {
		if n := len(sections); n == 0 || sections[n-1].Tag != o.Tag {
			sections = append(sections, section{Tag: o.Tag, Anchor: strings.ReplaceAll(strings.ToLower(o.Tag), " ", "-")})
		}
		last := &sections[len(sections)-1]
		last.Operations = append(last.Operations, show(o, schemas))
	}
	template, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("parsing the page of the API: %w", err)
	}
	var out bytes.Buffer
	err = template.Execute(&out, map[string]any{
		"Title": title, "Introduction": introduction, "Style": pageStyle(), "Sections": sections,
		"Problem": schemas["Problem"].resolve(schemas, 0),
	})
	if err != nil {
		return nil, fmt.Errorf("rendering the page of the API: %w", err)
	}
	return out.Bytes(), nil
}

// pageStyle is ours, and so needs no escaping.
func pageStyle() template.HTML { return template.HTML("<style>" + pageCSS + "</style>") }

func show(o Operation, schemas map[string]*schema) shown {
	s := shown{Operation: o, Anchor: o.id()}
	if o.Body != "" {
		s.Request = schemas[o.Body].resolve(schemas, 0)
	}
	if o.Answer != "" {
		s.Response = schemas[o.Answer].resolve(schemas, 0)
	}
	errors := o.Statuses()
	for _, status := range slices.Sorted(maps.Keys(errors)) {
		s.Problems = append(s.Problems, meaning{status, errors[status]})
	}
	s.Curl = s.curl()
	return s
}

// curl is a command that works when it is pasted, where there is a TOKEN.
func (s shown) curl() string {
	lines := []string{"curl -i --cacert bin/ca.pem"}
	if s.Method != http.MethodGet && (s.Body == "" || s.Method != http.MethodPost) {
		lines[0] += " -X " + s.Method
	}
	if s.Access != Anyone {
		lines = append(lines, `-H "Authorization: Bearer $TOKEN"`)
	}
	path := s.Path
	for _, p := range s.Parameters {
		switch p.In {
		case "header":
			lines = append(lines, fmt.Sprintf("-H %q", p.Name+": "+p.Example))
		case "path":
			path = strings.Replace(path, "{"+p.Name+"}", p.Example, 1)
		}
	}
	if s.Request != nil {
		lines = append(lines, `-H "Content-Type: application/json"`, "-d '"+s.Request.compact()+"'")
	}
	return strings.Join(append(lines, "https://localhost:30443"+path), " \\\n  ")
}
