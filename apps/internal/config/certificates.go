package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Certificates accepts one or more certificates in PEM, such as a CA bundle. Text between them is ignored. It
// refuses a bundle with an unreadable part, because a missing authority would otherwise show only when it is
// needed. Its errors don't contain the value, which may be a key by mistake.
func Certificates(raw string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	begins, blocks := strings.Count(raw, "-----BEGIN "), 0
	for rest := []byte(raw); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds something other than a certificate in PEM block %d: it must hold certificates only, and no key", blocks)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds no valid certificate in PEM block %d: %w", blocks, err)
		}
		pool.AddCert(certificate)
	}
	switch {
	case begins == 0:
		return nil, errors.New("holds no certificate: must be one or more in PEM, with their BEGIN and END lines")
	case blocks < begins:
		return nil, fmt.Errorf("has %d PEM blocks, but only %d are readable: the others are damaged or incomplete", begins, blocks)
	}
	return pool, nil
}
