package lifecycle

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readmeCommands are the README's shell blocks in their order.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range shellBlock.FindAllStringSubmatch(string(readme), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) < 5 {
		t.Fatalf("the README has only %d shell blocks", len(blocks))
	}
	return blocks
}

// readme types what the README says from its first command to its last, into one
// shell. Left out are the command for another cluster, which deploysToContext runs,
// and the one that runs these tests; Ctrl-C is pressed where one is to press it.
func readme(t *testing.T) {
	script := "set -eu -o pipefail\n"
	for _, block := range readmeCommands(t) {
		if strings.HasPrefix(block, "make up CONTEXT=") || block == "make test\n" {
			continue
		}
		if block == "make dashboard\n" {
			block = "timeout --foreground --signal=INT 30 make dashboard || [ $? = 124 ]\n"
		}
		script += "echo '==== next block'\n" + block
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script)
	shell.WaitDelay = 5 * time.Second
	said, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("the README's commands: %v\n%s", err, said)
	}
	for _, text := range []string{"The platform is up", "x-cache: miss", "unchanged", "COMPONENT", "Ctrl-C ends this", "rotated platform:", "kube-score: no findings", "0 lost"} {
		if !strings.Contains(string(said), text) {
			t.Errorf("the README's commands do not show %q:\n%s", text, said)
		}
	}
}
