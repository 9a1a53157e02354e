package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"platform.example/infra/certificate"
)

// Users of a Redis.
const admin, monitor = "admin", "monitor"

// output is the output of a process, readable while it runs.
type output struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (o *output) Write(piece []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(piece)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}

// hurry shortens each sleep of the scripts to a tenth of a second, by a program sleep in a folder at the front of their PATH.
func hurry(t *testing.T, folder string) {
	t.Helper()
	name := filepath.Join(folder, "sleep")
	if err := errors.Join(os.WriteFile(name, []byte("#!/bin/sh\nexec /bin/sleep 0.1\n"), 0o600), os.Chmod(name, 0o755)); err != nil { //nolint:gosec // the server's user runs it
		t.Fatal(err)
	}
}

// newCertificate returns a certificate for localhost by a new authority, its key, and the bundle of the authority.
func newCertificate(t *testing.T) (public, key, bundle string) {
	t.Helper()
	authority, err := certificate.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := certificate.Issue(authority, []string{"localhost"}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bundle, _ = certificate.Bundle(authority)
	public, key, _ = certificate.Split(pair)
	return public, key, bundle
}
