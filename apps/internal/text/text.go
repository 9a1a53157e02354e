// Package text checks and compares text that people have written.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Invisible reports whether r is a control character, a line separator, or has no glyph. Such characters make
// two texts differ that look the same.
func Invisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// CanonicalEmail returns address with its domain in lower-case ASCII (RFC 5891): a@Bücher.example becomes
// a@xn--bcher-kva.example. If address has no such form, CanonicalEmail returns it unchanged, and false.
func CanonicalEmail(address string) (canonical string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 || strings.ContainsFunc(address, foldsIntoASCII) || strings.ContainsFunc(address, Invisible) {
		return address, false
	}
	domain, err := idna.Lookup.ToASCII(address[at+1:])
	if err != nil {
		// IDNA refuses some domains of mail: literals, underscores.
		domain = strings.ToLower(address[at+1:])
	}
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return address, false
	}
	return address[:at+1] + domain, true
}

// foldsIntoASCII reports whether r isn't ASCII but becomes ASCII by case folding or NFKC: two addresses that
// differ here would be equal elsewhere.
func foldsIntoASCII(r rune) bool {
	isASCII := func(r rune) bool { return r < utf8.RuneSelf }
	return !isASCII(r) && (isASCII(unicode.ToLower(r)) || isASCII(unicode.ToUpper(r)) ||
		strings.ContainsFunc(norm.NFKC.String(string(r)), isASCII))
}
