package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"platform.example/infra/catalog"
)

// standIn puts a pulumi on PATH that keeps a stack's configuration in a folder, one file per key, and notes how it
// was called.
func standIn(t *testing.T, answer string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	script := `#!/bin/sh
echo "$@" >>"` + folder + `/calls"
case "$*" in
"config --json --stack "*) printf '%s' '` + answer + `' ;;
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

func TestACompleteStackCostsOneCall(t *testing.T) {
	var entries []string
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		entries = append(entries, `"platform:`+secret.Name+`":{"secret":true}`)
	}
	folder := standIn(t, "{"+strings.Join(entries, ",")+"}")
	var out strings.Builder
	if err := run(t.Context(), []string{"-stack", "local"}, &out); err != nil {
		t.Fatal(err)
	}
	calls, _ := os.ReadFile(filepath.Join(folder, "calls"))
	if strings.Count(string(calls), "\n") != 1 || out.String() != "" {
		t.Errorf("calls %q, output %q; want one call and silence", calls, out.String())
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name, answer, want string
		args               []string
	}{
		{"no stack", `{}`, "want exactly -stack", nil},
		{"an argument too many", `{}`, "want exactly -stack", []string{"-stack", "local", "staging"}},
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

func TestGenerate(t *testing.T) {
	password, err := generate(catalog.Password)
	if err != nil {
		t.Fatal(err)
	}
	if random, err := base64.RawURLEncoding.DecodeString(password); err != nil || len(random) != 32 {
		t.Errorf("a password has %d bytes, %v; want 32", len(random), err)
	}
	keys, err := generate(catalog.JWTKeys)
	if err != nil || !regexp.MustCompile(`^[0-9a-f]{8}:[A-Za-z0-9_-]{43}$`).MatchString(keys) {
		t.Errorf("JWT keys are %q, %v; want kid:base64url", keys, err)
	}
	if again, _ := generate(catalog.Password); again == password {
		t.Error("two passwords are the same")
	}
	if _, err := generate("other"); err == nil {
		t.Error("an unknown kind is generated")
	}
}
