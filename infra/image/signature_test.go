package image

import (
	"os"
	"strings"
	"testing"

	"platform.example/infra/stack"
)

const signedImage = "registry.example.com/shop@sha256:539ceaaae49b3a7c8a04467cf00cc6788d8e3f1675df41860d86eebc4c40524f"

// script puts a program named cosign on PATH, which runs the script.
func script(t *testing.T, text string) {
	t.Helper()
	folder := t.TempDir()
	write(t, folder+"/cosign", "#!/bin/bash\n"+text+"\n")
	if err := os.Chmod(folder+"/cosign", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder+":/usr/bin:/bin")
	t.Setenv(KeyVariable, "")
}

func TestWithoutAConfiguredSignerEveryImageIsAccepted(t *testing.T) {
	script(t, "exit 1")
	if err := Verify(t.Context(), stack.Signature{}, signedImage); err != nil {
		t.Error(err)
	}
}

func TestAnImageWithoutAValidSignatureIsRefused(t *testing.T) {
	script(t, `echo "no signatures found" >&2; exit 10`)
	for _, signer := range []stack.Signature{{Key: "public"}, {Identity: "https://example.com/flow", Issuer: "https://issuer.example.com"}} {
		err := Verify(t.Context(), signer, signedImage)
		if err == nil || !strings.Contains(err.Error(), signedImage+" has no valid signature by ") || !strings.Contains(err.Error(), "no signatures found") {
			t.Errorf("%+v: %v", signer, err)
		}
	}
}

func TestVerifyPassesTheSigner(t *testing.T) {
	const want = `[ "$1" = verify ] && [ "${@: -1}" = ` + signedImage + ` ] && `
	for condition, signer := range map[string]stack.Signature{
		`[ "$2 $3" = "--key env://SIGNATURE_KEY" ] && [ "$SIGNATURE_KEY" = public ]`: {Key: "public"},
		`[ "$2 $3 $4 $5" = "--certificate-identity https://example.com/flow --certificate-oidc-issuer https://issuer.example.com" ]`: {
			Identity: "https://example.com/flow", Issuer: "https://issuer.example.com"},
	} {
		script(t, want+condition)
		if err := Verify(t.Context(), signer, signedImage); err != nil {
			t.Errorf("%s: %v", condition, err)
		}
	}
}

func TestOnlyUnsignedImagesAreSigned(t *testing.T) {
	signed := t.TempDir() + "/signed"
	// It accepts the image once it was signed.
	script(t, `[ "$1" = verify ] && exec test -e `+signed+`; [ "$1 $2 $3 $4" = "sign --yes --key env://COSIGN_PRIVATE_KEY" ] && touch `+signed)
	if _, err := sign(t.Context(), stack.Signature{Key: "public"}, signedImage); err == nil || !strings.Contains(err.Error(), "COSIGN_PRIVATE_KEY is not set") {
		t.Errorf("without the private key: %v", err)
	}
	t.Setenv(KeyVariable, "private")
	for range 2 {
		if reference, err := sign(t.Context(), stack.Signature{Key: "public"}, signedImage); err != nil || reference != signedImage {
			t.Errorf("got %s, %v", reference, err)
		}
	}
}

func TestWithoutCosignTheErrorSaysHowToGetIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := sign(t.Context(), stack.Signature{Key: "public"}, signedImage)
	if err == nil || !strings.Contains(err.Error(), "bin/local tool cosign") {
		t.Errorf("got %v", err)
	}
}
