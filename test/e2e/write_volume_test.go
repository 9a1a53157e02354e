package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"platform.example/test/kit"
)

const streamClaim = "persistentvolumeclaim/data-redis-stream-0"

// A full volume grows as its runbook describes: in place, under a running server. A claim can't shrink, so the stack keeps the
// new size.
func TestVolumeFullRunbookExpandsTheVolume(t *testing.T) {
	_, fix, _ := strings.Cut(content(t, runbooks+"/VolumeFull.md"), "\n## Mitigation\n")
	commands := fence.FindStringSubmatch(fix)
	if commands == nil || !strings.Contains(commands[2], "stream.volumeSize 30Gi") || !strings.Contains(commands[2], "pulumi up --stack <stack>") {
		t.Fatalf("the runbook's commands differ from those in this test: %v", commands)
	}
	read := func(object, path string) string {
		return kit.Output(t, "kubectl", "get", object, "--namespace=data", "--output=jsonpath={"+path+"}")
	}
	requested, inMiB := strings.CutSuffix(read(streamClaim, ".spec.resources.requests.storage"), "Mi")
	if !inMiB { // Kubernetes writes 1024Mi as 1Gi
		gib, err := strconv.Atoi(strings.TrimSuffix(requested, "Gi"))
		if err != nil {
			t.Fatalf("the claim requests %s", requested)
		}
		requested = strconv.Itoa(1024 * gib)
	}
	mib, err := strconv.Atoi(requested)
	if err != nil {
		t.Fatal(err)
	}
	const server, pod = "statefulset/redis-stream", "pod/redis-stream-0"
	before := read(server, ".metadata.uid") + read(pod, ".metadata.uid") + read(streamClaim, ".metadata.uid")
	script := func(mib int) string {
		return strings.NewReplacer("30Gi", fmt.Sprintf("%dMi", mib), "<stack>", "local", "pulumi up", "pulumi up --yes --skip-preview --non-interactive").
			Replace(commands[2])
	}
	if printed, err := kit.Run("bash", "-e", "-c", script(mib+1)); err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	for _, path := range []string{".spec.resources.requests.storage", ".status.capacity.storage"} {
		if got, want := read(streamClaim, path), fmt.Sprintf("%dMi", mib+1); got != want {
			t.Errorf("the claim has %s %s, want %s", path, got, want)
		}
	}
	if after := read(server, ".metadata.uid") + read(pod, ".metadata.uid") + read(streamClaim, ".metadata.uid"); after != before {
		t.Error("the server or its claim was replaced")
	}
	printed, err := kit.Run("bash", "-e", "-c", "("+script(mib)+") 2>&1")
	if err == nil || !strings.Contains(printed, "can't shrink") {
		t.Errorf("a smaller size: %v\n%s", err, printed)
	}
	kit.Output(t, "pulumi", "config", "set", "--path", "platform:stream.volumeSize", fmt.Sprintf("%dMi", mib+1), "--stack", "local")
}
