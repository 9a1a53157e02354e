package catalog

import (
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"platform.example/infra/quantity"
)

// CORSOrigins is the key of the public service's setting that the edge uses too.
const CORSOrigins = "corsOrigins"

func between(least, most int) func(string) (string, error) {
	return func(text string) (string, error) {
		_, err := quantity.Between(least, most)(text)
		return text, err
	}
}

// SecureURL requires an https URL without a user.
func SecureURL(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	if parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
		return "", fmt.Errorf("%q is not an https address", text)
	}
	return text, nil
}

func plainURL(text string) (string, error) {
	if strings.ContainsAny(text, "?#") {
		return "", fmt.Errorf("%q has a query or a fragment", text)
	}
	return SecureURL(text)
}

func mailServer(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "smtp" && parsed.Scheme != "smtps" || parsed.Hostname() == "" || parsed.Port() == "" || parsed.Path+parsed.RawQuery != "" {
		return "", errors.New("it is not the address of a mail server") // quotes nothing: it may contain a password
	}
	if _, holds := parsed.User.Password(); holds {
		return "", errors.New("it contains a password, which belongs in the secret " + SMTPPassword)
	}
	return text, nil
}

func emailAddress(text string) (string, error) {
	parsed, err := mail.ParseAddress(text)
	if err != nil {
		return "", err
	}
	if parsed.Address != text {
		return "", fmt.Errorf("%q is not an email address alone", text)
	}
	return text, nil
}

// origins parses origins separated by commas, and normalizes them like browsers, since edge and gateway compare texts.
func origins(text string) (string, error) {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		one, err := origin(strings.TrimSpace(part))
		if err != nil {
			return "", err
		}
		list = append(list, one)
	}
	return strings.Join(list, ","), nil
}

var originForm = regexp.MustCompile(`^(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::0*([1-9][0-9]{0,4}))?/?$`)

// origin is a scheme, a host in lower case, and a port unless it is the scheme's default (html.spec.whatwg.org, "Origin").
func origin(text string) (string, error) {
	parts := originForm.FindStringSubmatch(strings.ToLower(text))
	if parts == nil {
		return "", fmt.Errorf("%q is not an origin", text)
	}
	scheme, host, port := parts[1], parts[2], parts[3]
	if strings.HasPrefix(host, "[") {
		address, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			return "", err
		}
		host = "[" + address.String() + "]"
	}
	if number, _ := strconv.Atoi(port); number > 65535 {
		return "", fmt.Errorf("%q has no valid port", text)
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return scheme + "://" + host, nil
	}
	return scheme + "://" + host + ":" + port, nil
}
