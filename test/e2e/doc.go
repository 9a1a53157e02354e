// Package e2e tests the running platform from the outside: as a user of its command line, as a client of its API, and as an
// attacker. It needs a platform on this machine (make up) and reverts all of its changes.
package e2e
