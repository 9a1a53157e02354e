// Package docs serves the description of the public API: an OpenAPI 3.1 document, which a test compares with
// the running services, and a page that shows it.
package docs

import _ "embed"

// document is served as it is. Its x-service says which service answers an operation.
//
//go:embed openapi.json
var document []byte
