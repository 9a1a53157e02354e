package secret

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
)

func TestRead(t *testing.T) {
	now := time.Now()
	authority, err := certificate.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := certificate.Issue(authority, []string{"a.example"}, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 43)
	key := "kid:" + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	seed := "next:ed25519." + key[4:]
	tests := []struct {
		name   string
		secret catalog.Secret
		value  string
		want   string
	}{
		{"a plain one", catalog.Secret{Kind: catalog.Plain}, long, ""},
		{"a plain one that is a list", catalog.Secret{Kind: catalog.Plain}, long + "," + long, "want at least 22 letters"},
		{"a short one", catalog.Secret{Kind: catalog.Password}, "hush", "want at least 22 letters"},
		{"nothing", catalog.Secret{Kind: catalog.Password}, "", "want at least 22 letters"},
		{"the one in use and the one before", catalog.Secret{Kind: catalog.Password}, long + "," + long, ""},
		{"three passwords", catalog.Secret{Kind: catalog.Password}, long + "," + long + "," + long, "has 3 values: want at most 2"},
		{"one with a line break", catalog.Secret{Kind: catalog.Password}, long + "\n", "want at least 22 letters"},
		{"keys", catalog.Secret{Kind: catalog.JWTKeys}, key + ",b" + key + ",c" + key, ""},
		{"keys of both forms", catalog.Secret{Kind: catalog.JWTKeys}, key + "," + seed + ",b" + key, ""},
		{"four keys", catalog.Secret{Kind: catalog.JWTKeys}, key + ",b" + key + ",c" + key + ",d" + key, "has 4 values: want at most 3"},
		{"a kid twice", catalog.Secret{Kind: catalog.JWTKeys}, key + "," + seed + "," + key, `has the kid "kid" twice`},
		{"a kid twice, in both forms", catalog.Secret{Kind: catalog.JWTKeys}, "next:" + key[4:] + "," + seed, `has the kid "next" twice`},
		{"a kid that the gateway refuses", catalog.Secret{Kind: catalog.JWTKeys}, "k.i.d:" + key[4:], "want kid:ed25519.seed"},
		{"a key in place of the kid", catalog.Secret{Kind: catalog.JWTKeys}, key[4:] + ":" + key[4:] + "," + key[4:] + ":" + key[4:], "want kid:ed25519.seed"},
		{"two keys without an id", catalog.Secret{Kind: catalog.JWTKeys}, key[4:] + "," + key[4:], "want kid:ed25519.seed"},
		{"a key without an id", catalog.Secret{Kind: catalog.JWTKeys}, key[3:], "want kid:ed25519.seed"},
		{"a key that is too short", catalog.Secret{Kind: catalog.JWTKeys}, key[:20], "or kid:key"},
		{"a seed that is too short", catalog.Secret{Kind: catalog.JWTKeys}, seed[:30], "want kid:ed25519.seed"},
		{"a seed that is too long", catalog.Secret{Kind: catalog.JWTKeys}, seed + "AA", "want kid:ed25519.seed"},
		{"a key of another form", catalog.Secret{Kind: catalog.JWTKeys}, "kid:rsa." + key[4:], "want kid:ed25519.seed"},
		{"a signing key", catalog.Secret{Kind: catalog.SigningKeys}, key, ""},
		{"a signing kid twice", catalog.Secret{Kind: catalog.SigningKeys}, key + "," + key, `has the kid "kid" twice`},
		{"a signing key in the form of the others", catalog.Secret{Kind: catalog.SigningKeys}, seed, "want kid:seed"},
		{"an authority", catalog.Secret{Kind: catalog.CertificateAuthority}, authority, ""},
		{"no authority", catalog.Secret{Kind: catalog.CertificateAuthority}, pair, "isn't a CA certificate"},
		{"a webhook", catalog.Secret{Kind: catalog.Given, URL: true}, "https://hooks.slack.com/services/x", ""},
		{"a webhook without a scheme", catalog.Secret{Kind: catalog.Given, URL: true}, "hooks.slack.com/services/x", "want a URL with https://"},
		{"a webhook without a host", catalog.Secret{Kind: catalog.Given, URL: true}, "https:///services/x", "want a URL with https://"},
		{"a webhook that is no address", catalog.Secret{Kind: catalog.Given, URL: true}, "https://s3cret:port/", "want a URL with https://"},
		{"a webhook without TLS", catalog.Secret{Kind: catalog.Given, URL: true}, "http://hooks.example.com/x", "want a URL with https://"},
		{"a webhook nearby without TLS", catalog.Secret{Kind: catalog.Given, URL: true, HTTP: true}, "http://192.0.2.7/x", ""},
		{"a key of another service", catalog.Secret{Kind: catalog.Given}, "0123456789abcdef", ""},
		{"credentials", catalog.Secret{Kind: catalog.Given, Pair: true}, "AKIA1:s3c/r+t:", ""},
		{"credentials without an ID", catalog.Secret{Kind: catalog.Given, Pair: true}, ":s3cret", "want <access key ID>:<secret access key>"},
		{"credentials without a key", catalog.Secret{Kind: catalog.Given, Pair: true}, "AKIA1:", "want <access key ID>:<secret access key>"},
		{"credentials without a colon", catalog.Secret{Kind: catalog.Given, Pair: true}, "AKIA1s3cret", "want <access key ID>:<secret access key>"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.secret.Name = "thing"
			_, err := Read("production", []catalog.Secret{test.secret}, map[string]string{
				"thing": test.value, catalog.Authority: authority,
			})
			if (err == nil) != (test.want == "") {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if err == nil {
				return
			}
			if !strings.HasPrefix(err.Error(), "stack production: platform:thing: ") || !strings.Contains(err.Error(), test.want) ||
				!strings.Contains(err.Error(), "make secrets STACK=production") && test.secret.Kind != catalog.Given {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if test.value != "" && strings.Contains(err.Error(), test.value) || strings.Contains(err.Error(), key[4:]) {
				t.Error("the error contains the secret")
			}
		})
	}
}

func TestVersion(t *testing.T) {
	const known = "7692c3ad" // sha256sum says so of "one"
	if Version("one") != known || Version("other") == known {
		t.Errorf("the version of one is %s, of another value %s", Version("one"), Version("other"))
	}
}

func TestCertificate(t *testing.T) {
	now := time.Now()
	authority, err := certificate.NewAuthority(now)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := Read("local", []catalog.Secret{{Name: catalog.Authority, Kind: catalog.CertificateAuthority}}, map[string]string{catalog.Authority: authority})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Certificate("", []string{"a.example"}, time.Hour, now); err != nil {
		t.Error(err)
	}
	_, err = secrets.Certificate("", []string{"a.example"}, time.Hour, now.AddDate(11, 0, 0))
	if err == nil || !strings.Contains(err.Error(), "certificate for a.example: the authority in use expired on") {
		t.Errorf("of an authority that has expired: %v", err)
	}
	if _, err := Unknown(nil).Certificate("", []string{"a.example"}, time.Hour, now); err != nil {
		t.Errorf("of no authority: %v", err)
	}
}
