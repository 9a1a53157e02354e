// Package data is the platform's stores, Postgres and Redis: in the cluster or elsewhere, each behind an Endpoint.
package data

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/stack"
)

// Endpoint is all that a service knows of a store, wherever the store runs. Every store speaks TLS.
type Endpoint struct {
	Host      string
	Port      int
	User      pulumi.StringOutput // whom the service signs in as; empty for a Redis that asks for a password only
	Password  pulumi.StringOutput // secret
	Authority pulumi.StringOutput // PEM of who signs the store's certificate; empty for the system's roots
	Ready     []pulumi.Resource   // what must be there before the service starts
}

// user is the owner of the stores' processes and files, in the images of both.
const user = 999

// monitor is who may look at a store's statistics, and at nothing that it holds.
const monitor = "monitor"

// elsewhere is the endpoint of a store that the platform doesn't run. The stack has checked its address.
func elsewhere(store stack.Store) Endpoint {
	host, text, _ := net.SplitHostPort(store.Address)
	port, _ := strconv.Atoi(text)
	return Endpoint{Host: host, Port: port, Authority: pulumi.String(store.CertificateAuthority).ToStringOutput()}
}

// inUse is the first of the passwords in a secret: the one that clients send, while servers accept all.
func inUse(secret pulumi.StringOutput) pulumi.StringOutput {
	return secret.ApplyT(func(list string) string {
		password, _, _ := strings.Cut(list, ",")
		return password
	}).(pulumi.StringOutput)
}

// login is the Postgres role that signs in with a password. Each password has a role of its own, so that the former one
// goes on to work while its users learn the new one; role.sql makes them, by the same rule.
func login(role, password string) string {
	return role + "_" + hash(password)[:8]
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
