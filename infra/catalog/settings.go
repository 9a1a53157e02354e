package catalog

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

func between(least, most int) func(string) error {
	return func(text string) error {
		number, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if number < least || number > most {
			return fmt.Errorf("%d is not between %d and %d", number, least, most)
		}
		return nil
	}
}

func secureURL(text string) error {
	parsed, err := url.Parse(text)
	if err != nil {
		return err
	}
	if parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
		return fmt.Errorf("%q is not an https address", text)
	}
	return nil
}

// origins are as browsers send them: a scheme and a host, nothing after.
func origins(text string) error {
	for origin := range strings.SplitSeq(text, ",") {
		parsed, err := url.Parse(strings.TrimSpace(origin))
		if err != nil {
			return err
		}
		if parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" ||
			parsed.Scheme+"://"+parsed.Host != strings.TrimSpace(origin) {
			return fmt.Errorf("%q is not an origin", origin)
		}
	}
	return nil
}
