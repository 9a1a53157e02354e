package stack

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"platform.example/infra/namespace"
)

// setting is one key: where it stands, what it allows, what it is when unset, and the field it sets.
type setting struct {
	path    string // with dots, as in gateway.type
	want    string // what is allowed, for people
	unset   defaults
	read    func(text string) error
	entries *map[string]string // in place of read: an object whose keys are free
}

// defaults holds the text of an unset setting in each environment; empty for none.
type defaults struct{ local, staging, production string }

// none is for a setting that may stay unset.
var none defaults

// always is a default that holds in each environment.
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

// of is a setting whose text is parsed into a field.
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

// registryAddress has a host with a dot, a port or localhost: Docker would take any other for a folder on Docker Hub.
var registryAddress = matching[string](`(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(\.[a-z0-9-]+)*:[0-9]{1,5})(:[0-9]{1,5})?` +
	`(/[a-z0-9]+([._-][a-z0-9]+)*)*`)

// matching reads a text of which all has the form of the regular expression.
func matching[T ~string](form string) func(string) (T, error) {
	expression := regexp.MustCompile(`^(` + form + `)$`)
	return func(text string) (T, error) {
		if !expression.MatchString(text) {
			return "", fmt.Errorf("%q has not the form %s", text, form)
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

func between(least, most int) func(string) (int, error) {
	return func(text string) (int, error) {
		number, err := strconv.Atoi(text)
		if err != nil {
			return 0, err
		}
		if number < least || number > most {
			return 0, fmt.Errorf("%d is not between %d and %d", number, least, most)
		}
		return number, nil
	}
}

var namespacePrefix = matching[namespace.Prefix](`[a-z]([a-z0-9-]{0,18}[a-z0-9])?-`)

var labels = matching[string](`[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*`)

// hostName is a DNS name in lower case, as certificates have it.
func hostName(text string) (string, error) {
	if len(text) > 253 {
		return "", fmt.Errorf("%q is longer than 253 characters", text)
	}
	return labels(text)
}

// objectName is a name that Kubernetes accepts for an object.
func objectName(text string) (string, error) { return hostName(text) }

func hostPort(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", err
	}
	if _, err := between(1, 65535)(port); err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return text, nil
	}
	_, err = hostName(host)
	return text, err
}

// plainText begins the address of who takes traces without TLS.
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

// listOf reads values with commas between.
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

// peer reads <network>[:<port>] or <namespace>/<label>=<value>[+<label>=<value>][:<port>]; the port is that of DNS unless it is given.
func peer(text string) (Peer, error) {
	peer, at := Peer{Port: dnsPort}, text
	if colon := strings.LastIndex(text, ":"); colon > strings.LastIndex(text, "/") {
		port, err := between(1, 65535)(text[colon+1:])
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
	for one := range strings.SplitSeq(label, "+") {
		key, value, _ := strings.Cut(one, "=")
		peer.Labels[key] = value
	}
	_, err := objectName(namespace)
	return peer, err
}

// taint is as kubectl writes it: <key>[=<value>][:<effect>].
var taint = matching[string](`[^=:]+(=[^=:]*)?(:(NoSchedule|PreferNoSchedule|NoExecute))?`)

var stackName = matching[string](`[A-Za-z0-9._-]{1,100}`)

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
	return between(1, 365)(number)
}

func secureURL(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	if parsed.Scheme != "https" || parsed.Host == "" {
		return "", fmt.Errorf("%q is not an https address", text)
	}
	return strings.TrimSuffix(text, "/"), nil
}

// span reads a duration between two others.
func span(shortest, longest time.Duration) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		duration, err := time.ParseDuration(text)
		if err == nil && (duration < shortest || duration > longest) {
			err = fmt.Errorf("%s is not between %s and %s", duration, shortest, longest)
		}
		return duration, err
	}
}
