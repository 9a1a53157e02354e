package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"platform.example/test/kit"
)

// An escrow decrypts the secrets of its configuration without the machine's passphrase, and contains the state and the keys of the bucket.
func TestEscrowRestoresTheSecrets(t *testing.T) {
	if printed, err := kit.Run("bin/local", "install", "age"); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	folder := t.TempDir()
	in := func(line string) string {
		t.Helper()
		printed, err := kit.Run("bash", "-e", "-o", "pipefail", "-c", line, "bash", folder)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(printed)
	}
	in(`age-keygen >"$1/key.txt" 2>"$1/said" && age-keygen -y "$1/key.txt" >"$1/keys.pub"`)
	escrow := filepath.Join(folder, "local.age")
	printed := kit.Output(t, "make", "-s", "escrow", "TO="+folder+"/keys.pub", "OUT="+escrow)
	listed := kit.Output(t, "make", "-s", "escrow-check", "FILE="+escrow, "KEY="+folder+"/key.txt")
	for _, name := range []string{"Pulumi.local.yaml", "README", "passphrase", "state.json", "object-store", "the checksums match"} {
		if !strings.Contains(listed, name) {
			t.Errorf("%s isn't listed:\n%s", name, listed)
		}
	}

	in(`mkdir "$1/plain" && age --decrypt --identity "$1/key.txt" "$1/local.age" | tar -x -C "$1/plain"`)
	const get = ` pulumi config get platform:postgresAdminPassword --stack local`
	password := in(get)
	if restored := in(`env -u PULUMI_CONFIG_PASSPHRASE PULUMI_CONFIG_PASSPHRASE_FILE="$1/plain/passphrase"` + get + ` --config-file "$1/plain/Pulumi.local.yaml"`); restored != password {
		t.Error("the configuration and the passphrase of the escrow give another secret")
	}
	key := in(`pulumi config get platform:objectStoreKey --stack local`)
	if bucket := content(t, folder+"/plain/object-store"); !strings.Contains(bucket, "platform:"+key) || !strings.Contains(bucket, "s3://") {
		t.Error("the escrow has no keys of the bucket")
	}
	if state := content(t, folder+"/plain/state.json"); !strings.Contains(state, "postgresql.cnpg.io") || strings.Contains(state, password) {
		t.Error("the state lacks Postgres, or contains a plain secret")
	}
	if strings.Contains(printed+listed+content(t, escrow), password) {
		t.Error("a command prints a secret, or the escrow isn't encrypted")
	}
	if _, err := kit.Run("make", "escrow", "TO="+folder+"/key.txt"); err == nil || !strings.Contains(err.Error(), "contains a private key") {
		t.Errorf("with a private key: %v", err)
	}
}
