package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"platform.example/infra/stack"
)

// KeyVariable is the environment variable with the private key that signs images, encrypted by COSIGN_PASSWORD. Without it, cosign signs
// with the identity of the workflow run.
const KeyVariable = "COSIGN_PRIVATE_KEY"

// publicKeyVariable is the environment variable with the public key, for cosign.
const publicKeyVariable = "SIGNATURE_KEY"

// Verify returns an error unless the image has a valid signature. Without a signature in the stack's configuration, it accepts any image.
func Verify(ctx context.Context, signature stack.Signature, reference string) error {
	if signature == (stack.Signature{}) {
		return nil
	}
	by, args := signature.Identity, []string{"--certificate-identity", signature.Identity, "--certificate-oidc-issuer", signature.Issuer}
	if signature.Key != "" {
		by, args = "the key signature.key", []string{"--key", "env://" + publicKeyVariable, "--insecure-ignore-tlog=true"} // a private registry has no public log
	}
	if err := cosign(ctx, signature, append(append([]string{"verify"}, args...), reference)...); err != nil {
		return fmt.Errorf("image %s has no valid signature by %s, so it isn't released: release it with the pipeline that signs (docs/delivery.md): %w",
			reference, by, err)
	}
	return nil
}

// sign signs an image that has no valid signature yet, and returns its reference once it has one.
func sign(ctx context.Context, signature stack.Signature, reference string) (string, error) {
	if err := Verify(ctx, signature, reference); err == nil || errors.Is(err, exec.ErrNotFound) {
		return reference, err
	}
	args := []string{"sign", "--yes"}
	if os.Getenv(KeyVariable) != "" {
		args = append(args, "--key", "env://"+KeyVariable, "--use-signing-config=false", "--tlog-upload=false")
	} else if signature.Key != "" {
		return "", fmt.Errorf("image %s: %s is not set: it signs the images that signature.key verifies", reference, KeyVariable)
	}
	if err := cosign(ctx, signature, append(args, reference)...); err != nil {
		return "", fmt.Errorf("sign image %s: %w", reference, err)
	}
	return reference, Verify(ctx, signature, reference)
}

// cosign runs cosign. Its error is cosign's last line.
func cosign(ctx context.Context, signature stack.Signature, args ...string) error {
	command := exec.CommandContext(ctx, "cosign", args...)
	command.Env = append(os.Environ(), publicKeyVariable+"="+signature.Key)
	output, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: put it on PATH, such as with PATH=\"$(dirname \"$(bin/local tool cosign)\"):$PATH\"", err)
	}
	if lines := strings.Split(strings.TrimSpace(string(output)), "\n"); err != nil {
		return fmt.Errorf("cosign: %w: %s", err, lines[len(lines)-1])
	}
	return nil
}
