// Lego, Traefik's client of ACME, without its list of DNS providers (providers/dns). The compilation of Traefik adds lego's other
// files to this folder by an overlay.
module github.com/go-acme/lego/v4

go 1.24
