package stack

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/quantity"
)

// setting is one key of the configuration.
type setting struct {
	path    string // with dots, as in edge.type
	want    string // the allowed values, for error messages
	unset   defaults
	read    func(text string) error
	entries *map[string]string // instead of read: the entries of an object with any keys
}

// defaults are the default texts by environment. An empty text means no default.
type defaults struct{ local, staging, production string }

// none is for optional settings.
var none defaults

// always is the same default in each environment.
func always(text string) defaults { return defaults{text, text, text} }

func (d defaults) in(environment Environment) string {
	switch environment {
	case Local:
		return d.local
	case Staging:
		return d.staging
	default:
		return d.production
	}
}

// of returns a setting that parse reads into a field.
func of[T any](path, want string, unset defaults, into *T, parse func(string) (T, error)) setting {
	return setting{path: path, want: want, unset: unset, read: func(text string) error {
		value, err := parse(text)
		if err == nil {
			*into = value
		}
		return err
	}}
}

const wantRegistry = "a registry such as localhost:5000 or registry.example.com/platform"

// registryAddress requires localhost or a host with a dot or a port: Docker looks for any other address on Docker Hub.
var registryAddress = matching[string](`(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(\.[a-z0-9-]+)*:[0-9]{1,5})(:[0-9]{1,5})?` +
	`(/[a-z0-9]+([._-][a-z0-9]+)*)*`)

// matching requires the regular expression to match the complete text.
func matching[T ~string](form string) func(string) (T, error) {
	expression := regexp.MustCompile(`^(` + form + `)$`)
	return func(text string) (T, error) {
		if !expression.MatchString(text) {
			return "", fmt.Errorf("%q doesn't match %s", text, form)
		}
		return T(text), nil
	}
}

func filled(text string) (string, error) {
	if text == "" {
		return "", errors.New("is empty")
	}
	return text, nil
}

func boolean(text string) (bool, error) {
	_, err := oneOf("true", "false")(text)
	return text == "true", err
}

func oneOf[T ~string](allowed ...T) func(string) (T, error) {
	return func(text string) (T, error) {
		if !slices.Contains(allowed, T(text)) {
			return "", fmt.Errorf("%q is not one of %v", text, allowed)
		}
		return T(text), nil
	}
}

var namespacePrefix = matching[namespace.Prefix](`[a-z]([a-z0-9-]{0,18}[a-z0-9])?-`)

var labels = matching[string](`[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*`)

// hostName is a DNS name in lower case, as in certificates.
func hostName(text string) (string, error) {
	if len(text) > 253 {
		return "", fmt.Errorf("%q is longer than 253 characters", text)
	}
	return labels(text)
}

// objectName is the name of a Kubernetes object.
var objectName = hostName

var portNumber = quantity.Between(1, 65535)

// clusterNumber is the number of a Postgres cluster. Drills use the time.
var clusterNumber = quantity.Between(1, 1_000_000_000)

func hostPort(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", err
	}
	if _, err := portNumber(port); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return text, nil
	}
	_, err = hostName(host)
	return text, err
}

// plainText is the prefix of a traces address without TLS.
const plainText = "http://"

func tracesAddress(text string) (string, error) {
	_, err := hostPort(strings.TrimPrefix(text, plainText))
	return text, err
}

func network(text string) (string, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return "", err
	}
	if prefix != prefix.Masked() {
		return "", fmt.Errorf("%s is an address within the network %s", text, prefix.Masked())
	}
	return text, nil
}

// listOf parses values separated by commas.
func listOf[T any](parse func(string) (T, error)) func(string) ([]T, error) {
	return func(text string) ([]T, error) {
		var list []T
		for part := range strings.SplitSeq(text, ",") {
			one, err := parse(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	}
}

// peer parses <network>[:<port>] or <namespace>/<label>=<value>[+<label>=<value>][:<port>]. The default port is that of DNS.
func peer(text string) (Peer, error) {
	peer, at := Peer{Port: dnsPort}, text
	if colon := strings.LastIndex(text, ":"); colon > strings.LastIndex(text, "/") {
		port, err := portNumber(text[colon+1:])
		if err != nil {
			return peer, err
		}
		at, peer.Port = text[:colon], port
	}
	namespace, label, _ := strings.Cut(at, "/")
	if !strings.Contains(label, "=") {
		var err error
		peer.Network, err = network(at)
		return peer, err
	}
	peer.Namespace, peer.Labels = namespace, map[string]string{}
	for pair := range strings.SplitSeq(label, "+") {
		key, value, _ := strings.Cut(pair, "=")
		peer.Labels[key] = value
	}
	_, err := objectName(namespace)
	return peer, err
}

// taint has kubectl's syntax: <key>[=<value>][:<effect>].
var taint = matching[string](`[^=:]+(=[^=:]*)?(:(NoSchedule|PreferNoSchedule|NoExecute))?`)

var stackName = matching[string](`[A-Za-z0-9._-]{1,100}`)

func publicKey(text string) (string, error) {
	if block, _ := pem.Decode([]byte(text)); block == nil || block.Type != "PUBLIC KEY" {
		return "", errors.New("holds no public key")
	}
	return text, nil
}

func certificates(text string) (string, error) {
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(text)) {
		return "", errors.New("holds no certificate")
	}
	return text, nil
}

func days(text string) (int, error) {
	number, found := strings.CutSuffix(text, "d")
	if !found {
		return 0, fmt.Errorf("%q has no unit d", text)
	}
	return quantity.Between(1, 365)(number)
}

func moment(text string) (time.Time, error) { return time.Parse(time.RFC3339, text) }

func folderURL(text string) (string, error) {
	address, err := catalog.SecureURL(text)
	return strings.TrimSuffix(address, "/"), err
}

// span parses a duration within limits.
func span(shortest, longest time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		duration, err := time.ParseDuration(text)
		if err == nil && (duration < shortest || duration > longest) {
			err = fmt.Errorf("%s is not between %s and %s", duration, shortest, longest)
		}
		return duration, err
	}
}
