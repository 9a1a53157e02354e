package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Certificates accepts one or several certificates in PEM, such as those of the
// authorities that sign a server's. Text around them is left alone, as in the
// bundles that people hand on. A bundle of which a part can't be read is refused:
// what is missing would show only on the day it is needed. No fault repeats what
// the text holds, since it may be the wrong one, with a key in it.
func Certificates(raw string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	begun, read := strings.Count(raw, "-----BEGIN "), 0
	for rest := []byte(raw); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		read++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds something else than a certificate in PEM block %d: it must hold certificates alone, and no key", read)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds no valid certificate in PEM block %d: %w", read, err)
		}
		pool.AddCert(certificate)
	}
	switch {
	case begun == 0:
		return nil, errors.New("holds no certificate: must be one or several in PEM, with their BEGIN and END lines")
	case read < begun:
		return nil, fmt.Errorf("has %d PEM blocks, of which only %d can be read: the rest is damaged or cut off", begun, read)
	}
	return pool, nil
}
