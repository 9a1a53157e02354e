package lifecycle

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// readmeCommands returns the shell blocks of the README in their order.
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

// readme runs all shell blocks of the README in one shell, except for the command for another cluster, which deploysToContext runs,
// and the command that runs these tests. It presses Ctrl-C where the README says so. The block that deletes the platform comes last.
func readme(t *testing.T) {
	const deletion = "make stop\nmake down\n"
	script, blocks := "set -eu -o pipefail\n", readmeCommands(t)
	if !slices.Contains(blocks, deletion) {
		t.Fatalf("the README doesn't say %q", deletion)
	}
	for _, block := range append(slices.DeleteFunc(blocks, func(block string) bool { return block == deletion }), deletion) {
		if strings.HasPrefix(block, "make up CONTEXT=") || block == "make test\n" {
			continue
		}
		if block == "make dashboard\n" {
			block = "env --default-signal=INT timeout --signal=INT 30 make dashboard || [ $? = 124 ]\n"
		}
		script += "echo '==== next block'\n" + block
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script)
	shell.WaitDelay = 5 * time.Second
	printed, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("the README's commands: %v\n%s", err, printed)
	}
	for _, text := range []string{"The platform is up", "x-cache: miss", "unchanged", "COMPONENT", "cluster.dnsPeers", "Ctrl-C ends this", "rotated platform:", "kube-score: no findings", "0 lost"} {
		if !strings.Contains(string(printed), text) {
			t.Errorf("the output of the README's commands does not contain %q:\n%s", text, printed)
		}
	}
}
