// Package migrations holds the schema of the orders database. Migrations only
// expand what is there: the previous release runs on the new schema.
package migrations

import "embed"

// Files are the migrations, for goose.
//
//go:embed *.sql
var Files embed.FS
