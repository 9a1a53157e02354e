// Package secret checks the secrets of a stack's configuration, and hands them to resources so that they stay secret.
package secret

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/stack"
)

// Secrets is every secret of a stack.
type Secrets struct {
	values       map[string]pulumi.StringOutput
	certificates map[string]Certificate
	authority    string
	versions     map[string]string
}

// Certificate is a server's certificate and its key in PEM. The key is secret.
type Certificate struct{ Certificate, Key pulumi.StringOutput }

// Read checks the values by name against what the catalog asks for. Its error lists every fault, and no value.
func Read(stackName string, wanted []catalog.Secret, values map[string]string, now time.Time) (Secrets, error) {
	secrets := Secrets{
		values: map[string]pulumi.StringOutput{}, certificates: map[string]Certificate{}, versions: map[string]string{},
	}
	var faults []error
	for _, secret := range wanted {
		value := values[secret.Name]
		if err := check(secret, value, now); err != nil {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: %w: `make secrets STACK=%s` renews certificates, and "+
				"`make secrets STACK=%s ROTATE=%s` makes a new one", stackName, stack.Namespace, secret.Name, err, stackName, stackName, secret.Name))
			continue
		}
		switch secret.Kind {
		case catalog.CertificateAuthority:
			secrets.authority, _ = certificate.Bundle(value)
		case catalog.Certificate:
			public, key, _ := certificate.Split(value)
			secrets.certificates[secret.Name] = Certificate{pulumi.String(public).ToStringOutput(), hide(key)}
		}
		secrets.values[secret.Name], secrets.versions[secret.Name] = hide(value), Version(value)
	}
	for _, secret := range wanted {
		if secret.Kind == catalog.Certificate && len(faults) == 0 && !certificate.SignedBy(values[secret.Name], values[catalog.Authority]) {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: isn't signed by the stack's authority: run `make secrets STACK=%s`",
				stackName, stack.Namespace, secret.Name, stackName))
		}
	}
	return secrets, errors.Join(faults...)
}

// Output is the name of the stack output that tells which Version of each secret is in use.
const Output = "secretVersions"

// Version tells values of a secret apart without telling them: 8 hexadecimal digits of a hash of something that can't be
// guessed.
func Version(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:4])
}

// Versions is the Version of each secret.
func (s Secrets) Versions() pulumi.StringMap { return pulumi.ToStringMap(s.versions) }

// Unknown stands for secrets that nobody needs to know, where manifests are only read.
func Unknown(wanted []catalog.Secret) Secrets {
	const unknown = "(secret)"
	secrets := Secrets{values: map[string]pulumi.StringOutput{}, certificates: map[string]Certificate{}, authority: unknown}
	for _, secret := range wanted {
		secrets.values[secret.Name] = hide(unknown)
		secrets.certificates[secret.Name] = Certificate{hide(unknown), hide(unknown)}
	}
	return secrets
}

func hide(text string) pulumi.StringOutput {
	return pulumi.ToSecret(pulumi.String(text)).(pulumi.StringOutput)
}

// Value is a secret as it is stored.
func (s Secrets) Value(name string) pulumi.StringOutput { return s.values[name] }

// Values is several, by what the names are for; names that there are not are left out.
func (s Secrets) Values(names map[string]string) map[string]pulumi.StringOutput {
	values := map[string]pulumi.StringOutput{}
	for of, name := range names {
		if value, ok := s.values[name]; ok {
			values[of] = value
		}
	}
	return values
}

// Certificate is a secret of that kind.
func (s Secrets) Certificate(name string) Certificate { return s.certificates[name] }

// Authority is whom the stack's own certificates are signed by, in PEM. It is no secret.
func (s Secrets) Authority() string { return s.authority }

// enough is the fewest characters of a password: 128 random bits in base64.
const enough = 22

// check is what is wrong with a value. It quotes none of it.
func check(secret catalog.Secret, value string, now time.Time) error {
	switch secret.Kind {
	case catalog.Plain:
		return long(value)
	case catalog.Password:
		return each(value, 2, long)
	case catalog.JWTKeys:
		return each(value, 3, jwtKey)
	case catalog.CertificateAuthority:
		_, err := certificate.Bundle(value)
		return err
	case catalog.Certificate:
		return certificate.Valid(value, secret.Hosts, now)
	default:
		return fmt.Errorf("unknown kind %q", secret.Kind)
	}
}

func each(list string, most int, check func(string) error) error {
	parts := strings.Split(list, ",")
	if len(parts) > most {
		return fmt.Errorf("holds %d values: want at most %d with commas between", len(parts), most)
	}
	for _, part := range parts {
		if err := check(part); err != nil {
			return err
		}
	}
	return nil
}

// long is about passwords; they go into configuration files and URLs.
func long(value string) error {
	if len(value) < enough || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(value) {
		return fmt.Errorf("want at least %d letters, digits, - or _", enough)
	}
	return nil
}

// jwtKey is an id and a key of at least 32 bytes, what HS256 asks for (RFC 7518, 3.2).
func jwtKey(value string) error {
	id, key, _ := strings.Cut(value, ":")
	decoded, err := base64.RawURLEncoding.DecodeString(key)
	if id == "" || err != nil || len(decoded) < 32 {
		return errors.New("want kid:key, the key 32 bytes or more in base64url")
	}
	return nil
}
