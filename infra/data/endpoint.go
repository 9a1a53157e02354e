// Package data creates the platform's stores, Postgres and Redis, or uses external ones. Services connect by an Endpoint.
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

// Endpoint is a service's connection to a store, which uses TLS.
type Endpoint struct {
	Host      string
	Port      int
	User      pulumi.StringOutput // empty for a Redis with only a password
	Password  pulumi.StringOutput // secret
	Authority pulumi.StringOutput // PEM of the store's authority; empty for the system's roots
	Ready     []pulumi.Resource   // resources that must exist before the service starts
}

// user is the user id of the stores' processes and files in their images.
const user = 999

// monitor is the user who may read a store's statistics, but no data.
const monitor = "monitor"

// elsewhere is the endpoint of an external store. The stack has checked its address.
func elsewhere(store stack.Store) Endpoint {
	host, text, _ := net.SplitHostPort(store.Address)
	port, _ := strconv.Atoi(text)
	return Endpoint{Host: host, Port: port, Authority: pulumi.String(store.CertificateAuthority).ToStringOutput()}
}

// inUse is the first password in a secret. Clients send it, while servers accept all passwords.
func inUse(secret pulumi.StringOutput) pulumi.StringOutput {
	return secret.ApplyT(func(list string) string {
		password, _, _ := strings.Cut(list, ",")
		return password
	}).(pulumi.StringOutput)
}

// login is the Postgres role for one password. Each password has its own role, so that the former one works until all clients have the
// new one. setup.sh creates the roles with the same names.
func login(role, password string) string {
	return role + "_" + hash(password)[:8]
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
