// Package docs is the description of the public API: an OpenAPI 3.1 document, which
// a test holds against the running services, and a page that shows it to people.
package docs

import _ "embed"

// document is served as it is. Its x-service says which service answers an operation.
//
//go:embed openapi.json
var document []byte
