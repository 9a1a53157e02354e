// Package e2e specifies the running platform from the outside: what a person at
// its command line, a client of its API and someone who attacks it get. It needs
// a platform on this machine (make up) and changes nothing that it doesn't put back.
package e2e
