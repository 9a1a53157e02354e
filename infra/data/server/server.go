// Package server describes the servers of the stores as text: their scripts, configuration and permissions.
package server

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
)

// Folders and files in the pods of all stores.
const (
	CertificateFolder = "/run/secrets/certificate" // tls.crt and tls.key
	AdminFolder       = "/run/secrets/admin"
	PasswordFile      = "password"
	AuthorityFile     = "authority.pem"
)

// Monitor is the user who may read a store's statistics, but no data.
const Monitor = "monitor"

// The scripts of stores need /bin/sh and coreutils, but no entrypoint of an image. Those of Postgres also need PostgreSQL 15 at Debian's
// path.
//
//go:embed postgres redis
var files embed.FS

// Script is the content of a file of this folder, such as redis/start.sh.
func Script(name string) string {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(content)
}

// Hash is the SHA-256 of a text in hex.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
