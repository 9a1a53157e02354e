package text

import (
	"strings"
	"testing"
)

func TestCanonicalEmail(t *testing.T) {
	for address, want := range map[string]string{
		"ada@example.com":                     "ada@example.com",
		"Ada@EXAMPLE.com":                     "Ada@example.com",
		"a@bücher.example":                    "a@xn--bcher-kva.example",
		"a@BÜCHER.example":                    "a@xn--bcher-kva.example",
		"a@bu\u0308cher.example":              "a@xn--bcher-kva.example",
		"a@xn--bcher-kva.example":             "a@xn--bcher-kva.example",
		"a@XN--Bcher-KVA.example":             "a@xn--bcher-kva.example",
		"a@bücher\u3002example":               "a@xn--bcher-kva.example", // an ideographic full stop
		"Zoë@example.com":                     "Zoë@example.com",
		"a@[127.0.0.1]":                       "a@[127.0.0.1]",
		"a@Under_Score.example":               "a@under_score.example",
		"\u212aim@example.com":                "", // KELVIN SIGN
		"\u017fam@example.com":                "", // LATIN SMALL LETTER LONG S
		"\u0130da@example.com":                "", // capital I with a dot
		"\u0131da@example.com":                "", // dotless i
		"\uff41da@example.com":                "", // fullwidth a
		"\u0149@example.com":                  "", // n with an apostrophe
		"ada@example.\u212aim":                "",
		"ada\uff20example.com":                "", // fullwidth @
		"ada@\u00fc\u00df_.example":           "", // no domain of IDNA
		"ada@bü\u200bcher.example":            "",
		"ada@\u202eexample.com":               "",
		"no address":                          "",
		"":                                    "",
		"ada@":                                "ada@",
		"\"a@b\"@Bücher.example":              "\"a@b\"@xn--bcher-kva.example",
		"ada@xn--bcher-kva.EXAMPLE.":          "ada@xn--bcher-kva.example.",
		"ada@\u4f8b\u3048.\u30c6\u30b9\u30c8": "ada@xn--r8jz45g.xn--zckzah",
	} {
		canonical, ok := CanonicalEmail(address)
		if ok != (want != "") || ok && canonical != want || !ok && canonical != address {
			t.Errorf("%q: got %q, %t, want %q", address, canonical, ok, want)
		}
	}
}

func TestInvisible(t *testing.T) {
	for r, want := range map[rune]bool{
		'\n': true, '\u0085': true, '\u00ad': true, '\u034f': true, '\u061c': true, '\u200b': true, '\u200d': true, '\u200f': true,
		'\u2028': true, '\u2029': true, '\u202e': true, '\u2060': true, '\u2066': true, '\u3164': true, '\ufeff': true, '\U000e0041': true,
		' ': false, 'a': false, 'ä': false, '李': false, '\u0308': false, '👩': false, '\ufe0f': false,
	} {
		if got := Invisible(r); got != want {
			t.Errorf("%U: got %t", r, got)
		}
	}
}

// A canonical address is its own canonical form, and so is the canonical form of each spelling of its domain.
func FuzzCanonicalEmail(f *testing.F) {
	for _, seed := range []string{"a@bücher.example", "\u212aim@example.com", "a@[127.0.0.1]", "@", "a@xn--", "a@\u3002", "\"a@b\"@C", "a@\u00ad", "a\u202e@b\u200b.c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		canonical, ok := CanonicalEmail(address)
		if again, still := CanonicalEmail(canonical); again != canonical || still != ok {
			t.Errorf("%q becomes %q, %t, and that %q, %t", address, canonical, ok, again, still)
		}
		if !ok {
			return
		}
		domain := canonical[strings.LastIndexByte(canonical, '@')+1:]
		if strings.ContainsFunc(domain, func(r rune) bool { return r >= 0x80 || r >= 'A' && r <= 'Z' }) {
			t.Errorf("%q becomes %q", address, canonical)
		}
		if upper, _ := CanonicalEmail(canonical[:len(canonical)-len(domain)] + strings.ToUpper(domain)); upper != canonical {
			t.Errorf("%q in capitals becomes %q", canonical, upper)
		}
	})
}
