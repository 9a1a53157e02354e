// Package dns stands in for lego's list of some 150 DNS providers, nearly all of what Traefik is made of: this Traefik
// gets its certificates from the cluster, never by ACME.
package dns

import (
	"fmt"

	"github.com/go-acme/lego/v4/challenge"
)

// NewDNSChallengeProviderByName refuses: there is none.
func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, fmt.Errorf("DNS provider %s: this Traefik was built without ACME's DNS challenge", name)
}
