package config_test

import (
	"strings"
	"testing"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/config"
)

func TestCertificates(t *testing.T) {
	one, other := backingtest.Authority(t), backingtest.OtherAuthority(t)
	lines := strings.SplitAfter(one, "\n")
	cut := strings.Join(lines[:len(lines)-2], "")
	damaged := strings.Replace(one, lines[2], "????\n", 1)
	const secret = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
	key := "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n"
	for _, c := range []struct {
		name, raw string
		want      int    // certificates
		fault     string // "": none
	}{
		{"one", one, 1, ""},
		{"several", one + other, 2, ""},
		{"with text around", "# in use\n" + one + "\n# next\n" + other + "\n", 2, ""},
		{"without the last newline", strings.TrimSpace(one), 1, ""},
		{"one twice", one + one, 1, ""},
		{"no PEM", secret, 0, "holds no certificate: must be one or more in PEM"},
		{"an incomplete one", cut, 0, "has 1 PEM blocks, but only 0 are readable"},
		{"a second, incomplete one", other + cut, 0, "has 2 PEM blocks, but only 1 are readable"},
		{"a first, damaged one", damaged + other, 0, "has 2 PEM blocks, but only 1 are readable"},
		{"a key", key, 0, "holds something other than a certificate in PEM block 1"},
		{"a key after a certificate", one + key, 0, "holds something other than a certificate in PEM block 2"},
		{"a key labelled as a certificate", strings.ReplaceAll(key, "PRIVATE KEY", "CERTIFICATE"), 0, "holds no valid certificate in PEM block 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, err := config.Certificates(c.raw)
			if c.fault == "" {
				if err != nil || len(pool.Subjects()) != c.want { //nolint:staticcheck // deprecated for system pools, which this isn't
					t.Errorf("%v, want %d certificates", err, c.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%v, want %s", err, c.fault)
			} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the text is shown: %v", err)
			}
		})
	}
}
