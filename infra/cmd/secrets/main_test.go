package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/certificate"
	"platform.example/infra/secret"
)

// standIn puts a pulumi on PATH that keeps a stack's configuration in a folder, one file per key, and notes how it
// was called.
func standIn(t *testing.T, answer string, outputs ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, content := range map[string]string{"configuration": answer, "outputs": strings.Join(outputs, "")} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `#!/bin/sh
echo "$@" >>"` + folder + `/calls"
case "$*" in
"config --json --show-secrets --stack "*) cat "` + folder + `/configuration" ;;
"stack output --json --stack "*) cat "` + folder + `/outputs" ;;
"config set --secret --stack "*) cat >"` + folder + `/$6" ;;
*) echo "unexpected: $*" >&2; exit 2 ;;
esac
`
	if err := os.WriteFile(filepath.Join(folder, "pulumi"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	return folder
}

func TestMissingSecretsAreGeneratedAndOthersKept(t *testing.T) {
	folder := standIn(t, `{"platform:registry":{"value":"localhost:5000","secret":false},"platform:redisPassword":{"secret":true}}`)
	var out strings.Builder
	if err := run(t.Context(), []string{"-stack", "local"}, &out); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(filepath.Join(folder, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		key := "platform:" + secret.Name
		value, err := os.ReadFile(filepath.Join(folder, key))
		if secret.Name == catalog.RedisPassword {
			if err == nil {
				t.Error("a stored secret was replaced")
			}
			continue
		}
		if err != nil {
			t.Errorf("%s was not stored: %v", key, err)
			continue
		}
		if !strings.Contains(out.String(), "generated "+key+"\n") {
			t.Errorf("%s is not announced in %q", key, out.String())
		}
		if strings.Contains(out.String(), string(value)) || strings.Contains(string(calls), string(value)) {
			t.Errorf("the value of %s was shown", key)
		}
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name, answer, want string
		args               []string
	}{
		{"no stack", `{}`, "want -stack", nil},
		{"an argument too many", `{}`, "want -stack", []string{"-stack", "local", "staging"}},
		{"a secret in plain text", `{"platform:jwtKeys":{"value":"x","secret":false}}`,
			"platform:jwtKeys is stored in plain text", []string{"-stack", "staging"}},
		{"an answer that is no JSON", `oops`, "read the configuration of stack local", []string{"-stack", "local"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			standIn(t, test.answer)
			err := run(t.Context(), test.args, &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestTheCommandLinesOwnWordsAreInTheError(t *testing.T) {
	folder := standIn(t, "")
	script := "#!/bin/sh\necho \"error: no stack named 'local' found\" >&2\nexit 255\n"
	if err := os.WriteFile(filepath.Join(folder, "pulumi"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), []string{"-stack", "local"}, &strings.Builder{})
	if err == nil || !strings.Contains(err.Error(), "no stack named 'local' found") {
		t.Errorf("got %v", err)
	}
}

func find(t *testing.T, name string) catalog.Secret {
	t.Helper()
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		if secret.Name == name {
			return secret
		}
	}
	t.Fatalf("there is no secret %s", name)
	return catalog.Secret{}
}

func TestARotatedValueAcceptsTheFormerOne(t *testing.T) {
	now := time.Now()
	must := func(value string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	t.Run("passwords", func(t *testing.T) {
		secret := find(t, "redisPassword")
		first := must(generate(secret, "", now))
		second := strings.Split(must(rotate(secret, first, "", now)), ",")
		if len(second) != 2 || second[1] != first || second[0] == first {
			t.Error("the former password isn't the second of two")
		}
		third := strings.Split(must(rotate(secret, strings.Join(second, ","), "", now)), ",")
		if len(third) != 2 || third[1] != second[0] {
			t.Error("the one before the former is still accepted, or the former is not")
		}
	})
	t.Run("JWT keys", func(t *testing.T) {
		secret := find(t, "jwtKeys")
		first := strings.Split(must(generate(secret, "", now)), ",")
		second := strings.Split(must(rotate(secret, strings.Join(first, ","), "", now)), ",")
		if len(second) != 3 || second[0] != first[1] || second[2] != first[0] || slices.Contains(first, second[1]) {
			t.Error("the announced key doesn't come into use, with the former one behind and a fresh one announced")
		}
		if old := must(rotate(secret, "a:b", "", now)); !strings.HasPrefix(old, "a:b,") {
			t.Error("a list without a next key begins to sign with one that nobody knows")
		}
	})
	t.Run("the authority", func(t *testing.T) {
		former := must(generate(find(t, catalog.Authority), "", now))
		server := find(t, catalog.PostgresCertificate)
		issued := must(generate(server, former, now))
		next := must(rotate(find(t, catalog.Authority), former, "", now))
		if !certificate.SignedBy(issued, next) {
			t.Error("who trusts the new authorities refuses the old certificate")
		}
		if reissued := must(rotate(server, issued, next, now)); !certificate.SignedBy(reissued, former) {
			t.Error("who trusts the former authorities refuses the new certificate")
		}
	})
}

// configuration is what pulumi says of a stack that holds these secrets.
func configuration(t *testing.T, values map[string]string) string {
	t.Helper()
	entries := map[string]map[string]any{}
	for name, value := range values {
		entries["platform:"+name] = map[string]any{"value": value, "secret": true}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// complete is a value for every secret.
func complete(t *testing.T, now time.Time) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		value, err := generate(secret, values[catalog.Authority], now)
		if err != nil {
			t.Fatal(err)
		}
		values[secret.Name] = value
	}
	return values
}

func TestWhatIsThereStays(t *testing.T) {
	folder := standIn(t, configuration(t, complete(t, time.Now())))
	var out strings.Builder
	if err := run(t.Context(), []string{"-stack", "local"}, &out); err != nil {
		t.Fatal(err)
	}
	calls, _ := os.ReadFile(filepath.Join(folder, "calls"))
	if strings.Count(string(calls), "\n") != 1 || out.String() != "" {
		t.Errorf("calls %q, output %q; want one call and silence", calls, out.String())
	}
}

func TestCertificatesAreRenewedInTime(t *testing.T) {
	old := complete(t, time.Now().Add(-780*24*time.Hour)) // of 825 days
	folder := standIn(t, configuration(t, old))
	var out strings.Builder
	if err := run(t.Context(), []string{"-stack", "local"}, &out); err != nil {
		t.Fatal(err)
	}
	want := "renewed platform:postgresCertificate\nrenewed platform:redisCertificate\nrenewed platform:streamCertificate\n" +
		"renewed platform:edgeCertificate\n"
	if out.String() != want {
		t.Errorf("it says %q, want %q", out.String(), want)
	}
	renewed, err := os.ReadFile(filepath.Join(folder, "platform:postgresCertificate"))
	if err != nil || !certificate.SignedBy(string(renewed), old[catalog.Authority]) {
		t.Errorf("the renewed certificate isn't signed by the authority: %v", err)
	}
}

func TestRotate(t *testing.T) {
	values := complete(t, time.Now())
	outputs := func(version string) string { return `{"secretVersions":{"redisPassword":"` + version + `"}}` }
	t.Run("changes one secret and says what to do", func(t *testing.T) {
		folder := standIn(t, configuration(t, values), outputs(secret.Version(values["redisPassword"])))
		var out strings.Builder
		if err := run(t.Context(), []string{"-stack", "local", "-rotate", "redisPassword"}, &out); err != nil {
			t.Fatal(err)
		}
		stored, _ := os.ReadFile(filepath.Join(folder, "platform:redisPassword"))
		if !strings.HasSuffix(string(stored), ","+values["redisPassword"]) {
			t.Error("the former password is not kept")
		}
		if !strings.Contains(out.String(), "rotated platform:redisPassword\nnow run: pulumi up --stack local\n") ||
			strings.Contains(out.String(), values["redisPassword"]) || strings.Count(out.String(), "rotated") != 1 {
			t.Errorf("it says %q", out.String())
		}
	})
	t.Run("not twice without an update between", func(t *testing.T) {
		folder := standIn(t, configuration(t, values), outputs("01234567"))
		err := run(t.Context(), []string{"-stack", "local", "-rotate", "redisPassword"}, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), "run `pulumi up --stack local` before it is rotated again") {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(filepath.Join(folder, "platform:redisPassword")); err == nil {
			t.Error("it is changed all the same")
		}
	})
	t.Run("the authority with all that it signs", func(t *testing.T) {
		standIn(t, configuration(t, values), "{}")
		var out strings.Builder
		if err := run(t.Context(), []string{"-stack", "local", "-rotate", catalog.Authority}, &out); err != nil {
			t.Fatal(err)
		}
		if strings.Count(out.String(), "rotated platform:") != 5 {
			t.Errorf("it says %q", out.String())
		}
	})
	t.Run("a name that there is not", func(t *testing.T) {
		standIn(t, configuration(t, values))
		err := run(t.Context(), []string{"-stack", "local", "-rotate", "redis"}, &strings.Builder{})
		if err == nil || !strings.Contains(err.Error(), `stack local has no secret "redis": want one of certificateAuthority, postgresAdminPassword`) {
			t.Errorf("got %v", err)
		}
	})
}
