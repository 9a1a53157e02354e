package load

import (
	"net/http"
	"strings"
	"sync"
)

// Origin is a service that took part in a response, with its colour and version.
type Origin struct {
	Service string `json:"service"`
	Colour  string `json:"colour"`
	Version string `json:"version"`
}

// parseTiming reads the origins of a response from Server-Timing, such as
//
//	api-gateway;desc="green 0123456789ab", user-service;desc="blue 0123456789ab"
//
// in one or several headers. It ignores entries without a colour and version.
func parseTiming(values []string) []Origin {
	var found []Origin
	for _, value := range values {
		for _, entry := range split(value, ',') {
			parts := split(entry, ';')
			for _, parameter := range parts[1:] {
				name, description, _ := strings.Cut(parameter, "=")
				if !strings.EqualFold(strings.TrimSpace(name), "desc") {
					continue
				}
				colour, version, ok := strings.Cut(strings.Trim(strings.TrimSpace(description), `"`), " ")
				if ok && (colour == "blue" || colour == "green") {
					found = append(found, Origin{Service: strings.TrimSpace(parts[0]), Colour: colour, Version: version})
				}
			}
		}
	}
	return found
}

// split splits at separators outside of quotes (RFC 9110, 5.6.4).
func split(text string, separator byte) []string {
	var parts []string
	from, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == separator && !quoted:
			parts, from = append(parts, text[from:i]), i+1
		}
	}
	return append(parts, text[from:])
}

// maxOrigins limits the remembered origins: releases of four services have some dozens.
const maxOrigins = 1024

// origins parses Server-Timing. All samples with the same origins share them in memory.
type origins struct {
	mu    sync.Mutex
	known map[string][]Origin
}

func (o *origins) of(header http.Header) []Origin {
	values := header["Server-Timing"]
	if len(values) == 0 {
		return nil
	}
	key := strings.Join(values, ",")
	o.mu.Lock()
	defer o.mu.Unlock()
	if found, ok := o.known[key]; ok {
		return found
	}
	found := parseTiming(values)
	if o.known == nil {
		o.known = map[string][]Origin{}
	}
	if len(o.known) < maxOrigins {
		o.known[key] = found
	}
	return found
}
