// Package secret checks the secrets of a stack's configuration, and passes them to resources as Pulumi secrets.
package secret

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/stack"
)

// Secrets are the secrets of a stack.
type Secrets struct {
	values    map[string]pulumi.StringOutput
	authority Authority
	versions  map[string]string
}

// Certificate is a server's certificate and its key in PEM. The key is secret.
type Certificate struct {
	Certificate, Key pulumi.StringOutput
}

// Authority signs the stack's own certificates.
type Authority struct {
	Bundle string // PEM of the current, the next and the former authority
	pairs  string // the same with keys
	Ends   time.Time
}

// Read checks the values of the catalog's secrets by name. Its error lists all faults, without values.
func Read(stackName string, known []catalog.Secret, values map[string]string) (Secrets, error) {
	secrets := Secrets{values: map[string]pulumi.StringOutput{}, versions: map[string]string{}}
	var faults []error
	for _, secret := range known {
		value := values[secret.Name]
		if value == "" && secret.Kind == catalog.Given {
			continue
		}
		if err := check(secret, value); err != nil {
			faults = append(faults, fmt.Errorf("stack %s: %s:%s: %w: %s", stackName, stack.Namespace, secret.Name, err, remedy(stackName, secret)))
			continue
		}
		if secret.Kind == catalog.CertificateAuthority {
			secrets.authority.Bundle, _ = certificate.Bundle(value)
			secrets.authority.pairs = value
			secrets.authority.Ends, _ = certificate.NotAfter(value)
		}
		secrets.values[secret.Name], secrets.versions[secret.Name] = hide(value), Version(value)
	}
	return secrets, errors.Join(faults...)
}

// remedy is a hint how to fix an invalid value.
func remedy(stackName string, secret catalog.Secret) string {
	if secret.Kind == catalog.Given {
		return fmt.Sprintf("set it again with `pulumi config set --secret %s:%s --stack %s`", stack.Namespace, secret.Name, stackName)
	}
	return fmt.Sprintf("`make secrets STACK=%s` generates it if it is missing, and replaces it with ROTATE=%s", stackName, secret.Name)
}

// Output is the name of the stack output with the Version of each secret in use.
const Output = "secretVersions"

// Version identifies a secret's value without revealing it: 8 hexadecimal digits of its hash. Generated values can't be guessed.
func Version(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:4])
}

// Versions is the Version of each secret.
func (s Secrets) Versions() pulumi.StringMap { return pulumi.ToStringMap(s.versions) }

const unknown = "(secret)"

// Unknown returns placeholders for rendered manifests.
func Unknown(known []catalog.Secret) Secrets {
	secrets := Secrets{values: map[string]pulumi.StringOutput{}, authority: Authority{Bundle: unknown, pairs: unknown}}
	for _, secret := range known {
		secrets.values[secret.Name] = hide(unknown)
	}
	return secrets
}

func hide(text string) pulumi.StringOutput {
	return pulumi.ToSecret(pulumi.String(text)).(pulumi.StringOutput)
}

// Value is the stored value of a secret.
func (s Secrets) Value(name string) pulumi.StringOutput { return s.values[name] }

// Has reports whether the secret is set. Secrets of kind Given are optional.
func (s Secrets) Has(name string) bool {
	_, ok := s.values[name]
	return ok
}

// PublicKeys returns the public keys of SigningKeys as id:key, separated by commas.
func (s Secrets) PublicKeys(name string) pulumi.StringOutput {
	return s.values[name].ApplyT(func(value string) (string, error) {
		if value == unknown {
			return value, nil
		}
		return publicKeys(value)
	}).(pulumi.StringOutput)
}

func publicKeys(value string) (string, error) {
	var public []string
	err := keys(value, func(id, encoded string) error {
		seed, err := base64.RawURLEncoding.DecodeString(encoded)
		if !kid.MatchString(id) || err != nil || len(seed) != ed25519.SeedSize {
			return errors.New("want kid:seed, the seed 32 bytes in base64url")
		}
		key := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		public = append(public, id+":"+base64.RawURLEncoding.EncodeToString(key))
		return nil
	})
	return strings.Join(public, ","), err
}

// Certificate returns a server's certificate for these DNS names: the current one, unless it is due for renewal.
func (s Secrets) Certificate(served string, hosts []string, duration time.Duration, now time.Time) (Certificate, error) {
	if s.authority.pairs == unknown {
		return Certificate{hide(unknown), hide(unknown)}, nil
	}
	pair, err := certificate.Current(served, s.authority.pairs, hosts, duration, now)
	if err != nil {
		return Certificate{}, fmt.Errorf("certificate for %s: %w", hosts[0], err)
	}
	public, key, err := certificate.Split(pair)
	return Certificate{pulumi.String(public).ToStringOutput(), hide(key)}, err
}

// Pairs are the certificates of the authority with their keys, the one in use first.
func (a Authority) Pairs() pulumi.StringOutput { return hide(a.pairs) }

// Authority signs the stack's own certificates.
func (s Secrets) Authority() Authority { return s.authority }

// enough is the minimum length of a password: 128 random bits in base64.
const enough = 22

// check returns the fault of a value, without quoting the value.
func check(secret catalog.Secret, value string) error {
	switch secret.Kind {
	case catalog.Plain:
		return long(value)
	case catalog.Password:
		return each(value, 2, long)
	case catalog.JWTKeys:
		return keys(value, jwtKey)
	case catalog.SigningKeys:
		_, err := publicKeys(value)
		return err
	case catalog.CertificateAuthority:
		_, err := certificate.Bundle(value)
		return err
	case catalog.Given:
		parsed, err := url.Parse(value)
		switch {
		case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
			return errors.New("want a key or a URL, without blanks or line breaks")
		case secret.URL && (err != nil || parsed.Hostname() == "" || parsed.Scheme != "https" && (!secret.HTTP || parsed.Scheme != "http")):
			return errors.New("want a URL with https:// and a host; http:// is only for one in monitoring.webhookNetwork")
		case secret.Pair && !pair.MatchString(value):
			return errors.New("want <access key ID>:<secret access key>")
		}
		return nil
	default:
		return fmt.Errorf("unknown kind %q", secret.Kind)
	}
}

var pair = regexp.MustCompile(`^[^:]+:.`)

func each(list string, most int, check func(string) error) error {
	parts := strings.Split(list, ",")
	if len(parts) > most {
		return fmt.Errorf("has %d values: want at most %d, separated by commas", len(parts), most)
	}
	for _, part := range parts {
		if err := check(part); err != nil {
			return err
		}
	}
	return nil
}

// kid is the form of a key id that the gateway accepts.
var kid = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// keys checks up to three keys. Each follows its id and a colon; ids are unique.
func keys(list string, check func(id, key string) error) error {
	var ids []string
	return each(list, 3, func(part string) error {
		id, key, _ := strings.Cut(part, ":")
		if slices.Contains(ids, id) {
			return fmt.Errorf("has the kid %q twice", id)
		}
		ids = append(ids, id)
		return check(id, key)
	})
}

// long checks passwords. They are used in configuration files and URLs.
func long(value string) error {
	if len(value) < enough || !regexp.MustCompile(`^[A-Za-z0-9_-]+$`).MatchString(value) {
		return fmt.Errorf("want at least %d letters, digits, - or _", enough)
	}
	return nil
}

// jwtKey checks an id and the seed of an Ed25519 key, or a key of at least 32 bytes as HS256 requires (RFC 7518, 3.2).
func jwtKey(id, key string) error {
	key, isSeed := strings.CutPrefix(key, catalog.Ed25519Seed)
	decoded, err := base64.RawURLEncoding.DecodeString(key)
	if !kid.MatchString(id) || err != nil || len(decoded) < 32 || isSeed && len(decoded) != ed25519.SeedSize {
		return errors.New("want kid:ed25519.seed, the seed 32 bytes in base64url, or kid:key, the key 32 bytes or more")
	}
	return nil
}
