// Lego, Traefik's client of ACME, without its list of DNS providers: see providers/dns. Its other files are laid over
// this folder when Traefik is compiled.
module github.com/go-acme/lego/v4

go 1.24
