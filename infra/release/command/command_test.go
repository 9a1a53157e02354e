package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"platform.example/infra/cluster/clustertest"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

func TestUsageErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, `there is no command "": want one of status, up, promote`},
		{"an unknown one", []string{"unroll"}, `there is no command "unroll"`},
		{"two", []string{"up", "rollback"}, `there is no command "up rollback"`},
		{"an unknown flag", []string{"up", "-fast"}, "flag provided but not defined: -fast"},
		{"somewhere else", []string{"up"}, "no Pulumi.yaml here: run this from the repository's root"},
	} {
		if err := Run(t.Context(), c.args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestCommandsRefuseTheClusterOfAnotherStack(t *testing.T) {
	api := clustertest.New(t, "one")
	api.Settle("staging")
	kubeconfig := api.Kubeconfig(t)
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"Pulumi.yaml":            "name: platform\n",
		"Pulumi.production.yaml": "config:\n  platform:kubeconfig: " + kubeconfig + "\n  platform:edge: {host: api.example.com, issuer: letsencrypt}\n  platform:backup: {bucket: s3://backups/shop}\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range commands {
		before := len(api.Asked())
		err := Run(t.Context(), []string{"-stack", "production", "-takeover", command.name}, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "leads to the cluster of stack staging") {
			t.Errorf("%s: %v", command.name, err)
		}
		if requests := api.Asked()[before:]; len(requests) != 2 { // the server's identity and the stack's name
			t.Errorf("%s requests %v", command.name, requests)
		}
	}
}

func TestStepName(t *testing.T) {
	const under = "urn:pulumi:local::platform::platform:workload:Service$kubernetes:"
	for _, c := range []struct{ urn, kind, op, want string }{
		{under + "batch/v1:Job::user-service-migrate-0123456789ab", "kubernetes:batch/v1:Job", "create", "user-service: migrate"},
		{under + "batch/v1:Job::user-service-green-seed-demo", "kubernetes:batch/v1:Job", "create", "user-service: seed-demo green"},
		{under + "apps/v1:Deployment::user-service-green", "kubernetes:apps/v1:Deployment", "update", "user-service: roll out green"},
		{under + "core/v1:Service::user-service", "kubernetes:core/v1:Service", "update", "user-service: switch"},
		{under + "core/v1:Service::user-service-green", "kubernetes:core/v1:Service", "create", ""},
		{under + "core/v1:Service::user-service", "kubernetes:core/v1:Service", "same", ""},
		{under + "apps/v1:Deployment::user-service-blue", "kubernetes:apps/v1:Deployment", "delete", ""},
		{"urn:pulumi:local::platform::docker:index/image:Image::user-service", "docker:index/image:Image", "update", "user-service: image"},
		{"urn:pulumi:local::platform::kubernetes:apps/v1:Deployment::edge", "kubernetes:apps/v1:Deployment", "update", ""},
	} {
		if got := stepName(apitype.StepEventMetadata{URN: c.urn, Type: c.kind, Op: apitype.OpType(c.op)}); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.op, c.urn, got, c.want)
		}
	}
}

func TestErrorsAreReportedOnce(t *testing.T) {
	var out bytes.Buffer
	l := &listener{session: &session{out: newProgress(&out, false)}}
	for _, event := range []apitype.DiagnosticEvent{
		{Severity: "error", Message: "<{%reset%}>Deployment apps/shop-green isn't ready:\n  pod ended<{%reset%}>\n"},
		{Severity: "error", Message: "Deployment apps/shop-green isn't ready: pod ended"},
		{Severity: "error", Message: "update failed"},
		{Severity: "warning", Message: "something else"},
		{Severity: "info", Message: "<{%reset%}>shop is released: from v1 to v2 in green (x), verified<{%reset%}>\n"},
		{Severity: "info", Message: "compiling"},
	} {
		l.diagnose(event)
	}
	if len(l.faults) != 1 || l.faults[0] != "Deployment apps/shop-green isn't ready: pod ended" {
		t.Errorf("the faults are %q", l.faults)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "shop is released: from v1 to v2") {
		t.Errorf("printed %q", got)
	}
}

func TestErrorsOfTheProgram(t *testing.T) {
	l := &listener{session: &session{out: newProgress(&bytes.Buffer{}, false)}}
	for _, message := range []string{
		"an unhandled error occurred: program failed: \n1 error occurred:\n\t* stack local: platform:deadlin: unknown key\n\n\n",
		"an unhandled error occurred: program failed: \n2 errors occurred:\n\t* one\n\t* two\n\n\n",
		"an unhandled error occurred: program exited with non-zero exit code: 1",
	} {
		l.diagnose(apitype.DiagnosticEvent{Severity: "error", Message: message})
	}
	if want := []string{"stack local: platform:deadlin: unknown key", "one; two"}; !slices.Equal(l.faults, want) {
		t.Errorf("the faults are %q, want %q", l.faults, want)
	}
}

// The Automation API doesn't close the stream of a run that pulumi refuses.
func TestListenEndsWithTheRun(t *testing.T) {
	var out bytes.Buffer
	shown := newProgress(&out, false)
	shown.terminal = true
	l := &listener{session: &session{out: shown}, under: map[string]report.Step{}}
	stream, over := make(chan events.EngineEvent, 1), make(chan struct{})
	stream <- events.EngineEvent{EngineEvent: apitype.EngineEvent{DiagnosticEvent: &apitype.DiagnosticEvent{Severity: "error", Message: "too late"}}}
	close(over)
	l.listen(stream, over)
	if len(l.faults) != 1 {
		t.Errorf("the faults are %q, want the one before the end", l.faults)
	}
	if out.Len() > 0 {
		t.Errorf("without a step, it shows %q", &out)
	}
}

// written is the texts that were written.
type written chan string

func (w written) Write(text []byte) (int, error) {
	w <- string(text)
	return len(text), nil
}

func TestStepsInProgressAreShown(t *testing.T) {
	out, over, ended := make(written), make(chan struct{}), make(chan struct{})
	shown := newProgress(out, false)
	shown.terminal = true
	l := &listener{session: &session{out: shown}, under: map[string]report.Step{"b": {Name: "shop: verify green"}, "a": {Name: "shop: migrate green"}}}
	go func() {
		l.listen(make(chan events.EngineEvent), over)
		close(ended)
	}()
	if text := <-out; !strings.HasSuffix(text, "… shop: migrate green, shop: verify green") {
		t.Errorf("it shows %q", text)
	}
	close(over)
	for {
		select {
		case <-out:
		case <-ended:
			return
		}
	}
}

func TestHolderNamesUserHostAndProcess(t *testing.T) {
	current, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	if want := fmt.Sprintf("%s@%s (process %d)", current.Username, host, os.Getpid()); holder() != want {
		t.Errorf("the holder is %s, want %s", holder(), want)
	}
}

func TestMoves(t *testing.T) {
	blue := release.Recorded{Selected: release.Blue, Colours: map[release.Colour]release.Running{release.Blue: {Version: "v1"}, release.Green: {Version: "v2"}}}
	green := blue
	green.Selected = release.Green
	found := moves(
		map[string]release.Recorded{"a": blue, "b": blue, "new": {}},
		map[string]release.Recorded{"a": green, "b": blue, "new": blue})
	if len(found) != 1 || found[0].String() != "a from v1 (blue) to v2 (green)" {
		t.Errorf("the moves are %v", found)
	}
}

func TestRollbackAffectsTheServicesOfTheLastRelease(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	released := func(at time.Time, standby string) release.Recorded {
		return release.Recorded{
			Selected: release.Green,
			Mark:     release.Mark{Live: release.Green, Version: "v2", Standby: release.Former{Version: standby}, At: at},
			Colours:  map[release.Colour]release.Running{release.Green: {Version: "v2"}, release.Blue: {Version: "v1"}},
		}
	}
	rolledBack := released(at.Add(time.Minute), "v1")
	rolledBack.Mark.TakenBack = "v1"
	all := map[string]release.Recorded{"a": released(at, "v1"), "b": released(at, "v1"), "c": released(at.Add(-time.Hour), "v1"), "d": released(at.Add(time.Hour), "")}
	for _, c := range []struct {
		service, want, fault string
		recorded             map[string]release.Recorded
		since                time.Time
	}{
		{recorded: all, want: "a b"},
		{recorded: all, since: at, want: "a b"},
		{recorded: all, since: at.Add(time.Minute), fault: "service d: no standby version"},
		{recorded: all, since: at.Add(2 * time.Hour), want: ""},
		{recorded: map[string]release.Recorded{"a": released(at, "v1"), "b": rolledBack}, since: at, want: "a"}, // b is back already
		{recorded: map[string]release.Recorded{"b": rolledBack}, since: at, want: ""},
		{recorded: map[string]release.Recorded{"b": rolledBack}, want: "b"},
		{recorded: all, service: "c", want: "c"},
		{recorded: all, service: "d", fault: "service d: no standby version"},
		{recorded: all, service: "e", fault: `there is no service "e": want one of a, b, c, d`},
		{recorded: map[string]release.Recorded{"d": all["d"]}, fault: "service d: no standby version"},
	} {
		got, err := (&session{options: options{service: c.service, since: c.since}}).affected(c.recorded)
		if c.fault == "" && (err != nil || strings.Join(got, " ") != c.want) {
			t.Errorf("%q rolls back %v (%v), want %s", c.service, got, err, c.want)
		}
		if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%q: %v, want %s", c.service, err, c.fault)
		}
	}
}

func TestProgressAsJSON(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, true)
	p.log("%s is live", "v2")
	p.print("for people")
	p.wait("a wait")
	var line struct{ Said, At string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Said != "v2 is live" || line.At == "" {
		t.Errorf("%q: %v", out.String(), err)
	}
}

// Programs wait for the names of completed steps, not for their text.
func TestCompletedStepsHaveNamesInJSON(t *testing.T) {
	var out bytes.Buffer
	l := &listener{session: &session{out: newProgress(&out, true)}, under: map[string]report.Step{}}
	l.diagnose(apitype.DiagnosticEvent{Severity: "info", Message: "shop is released: from v1 to v2 in green (x)\nother stays at v1: v2 was rolled back\n"})
	for step, failed := range map[string]bool{"verify green": false, "migrate green": true} {
		l.under[step] = report.Step{Name: "shop: " + step, Began: time.Now()}
		l.end(step, failed)
	}
	got := map[string]string{} // text by step
	for text := range strings.Lines(out.String()) {
		var line struct{ Said, Step string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		got[line.Step] = line.Said
	}
	for step, want := range map[string]string{
		"shop: plan": "shop is released: from v1 to v2 in green (x)", "other: plan": "other stays at v1: v2 was rolled back",
		"shop: verify green": "shop: verify green (", "": "shop: migrate green: failed",
	} {
		if text, found := got[step]; !found || !strings.HasPrefix(text, want) || len(got) != 4 {
			t.Errorf("%q: %q, want %q; all are %q", step, text, want, got)
		}
	}
}

func TestRefreshReportsOnlyKubernetesObjects(t *testing.T) {
	const stack = "urn:pulumi:local::platform::"
	for _, c := range []struct {
		urn  string
		op   apitype.OpType
		want string
	}{
		{stack + "kubernetes:core/v1:ConfigMap::edge", apitype.OpUpdate, "ConfigMap edge"},
		{stack + "kubernetes:core/v1:ConfigMap::edge", apitype.OpDelete, "ConfigMap edge"},
		{stack + "kubernetes:core/v1:ConfigMap::edge", apitype.OpSame, ""},
		{stack + "pulumi:pulumi:StackReference::organization/platform/local", apitype.OpUpdate, ""}, // changes with each update
	} {
		got := ""
		for _, difference := range refreshed(apitype.StepEventMetadata{URN: c.urn, Op: c.op}, nil) {
			got = difference.Kind + " " + difference.Name
		}
		if got != c.want {
			t.Errorf("%s %s is reported as %q, want %q", c.op, c.urn, got, c.want)
		}
	}
}

// The Job that retires a standby version changes objects outside of Pulumi. Changes of other fields are drift.
func TestRetirementIsNoDrift(t *testing.T) {
	object := func(standby, team string, minimum float64, behavior string) *apitype.StepEventStateMetadata {
		return &apitype.StepEventStateMetadata{Outputs: map[string]any{
			"metadata": map[string]any{"resourceVersion": standby + team, "annotations": map[string]any{
				"platform.example/standby": standby, "platform.example/replicas": standby, "team": team,
			}},
			"spec": map[string]any{"minReplicas": minimum, "maxReplicas": minimum, "behavior": behavior},
		}}
	}
	for _, c := range []struct {
		name, kind, object string
		now                *apitype.StepEventStateMetadata
		reported           bool
	}{
		{"retired", "core/v1:Service", "x", object("", "a", 2, "slow"), false},
		{"shrinks", "autoscaling/v2:HorizontalPodAutoscaler", "x-blue", object("", "a", 1, "slow"), false},
		{"another annotation", "core/v1:Service", "x", object("", "b", 2, "slow"), true},
		{"an autoscaler that no release sets", "autoscaling/v2:HorizontalPodAutoscaler", "edge", object("", "a", 1, "slow"), true},
		{"another behavior", "autoscaling/v2:HorizontalPodAutoscaler", "x-blue", object("v1", "a", 1, "fast"), true},
		{"another kind", "apps/v1:Deployment", "x-blue", object("", "a", 2, "slow"), true},
	} {
		found := refreshed(apitype.StepEventMetadata{
			URN: "urn:pulumi:local::platform::kubernetes:" + c.kind + "::" + c.object, Op: apitype.OpUpdate, Old: object("v1", "a", 2, "slow"), New: c.now,
		}, map[string]release.Recorded{"x": {}})
		if (len(found) > 0) != c.reported {
			t.Errorf("%s: %v", c.name, found)
		}
	}
}

func TestProcessThatNothingWaitsForIsDead(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "pulumi")
	content, err := os.ReadFile(cat) //nolint:gosec // a program of the machine
	if err == nil {
		err = os.WriteFile(program, content, 0o755) //nolint:gosec // a program
	}
	ended := exec.Command(program) //nolint:gosec // a copy of cat
	ended.Args[0] = cat            // a multi-call program needs its own name
	input, pipeErr := ended.StdinPipe()
	if err := errors.Join(err, pipeErr, ended.Start()); err != nil {
		t.Fatal(err)
	}
	if !alive(ended.Process.Pid) {
		t.Error("a running pulumi is dead")
	}
	_ = input.Close()
	for deadline := time.Now().Add(10 * time.Second); alive(ended.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a zombie is alive")
		}
	}
	if err := ended.Wait(); err != nil || alive(ended.Process.Pid) {
		t.Errorf("the process is alive after its end: %v", err)
	}
}

func TestAnotherProgramWithTheNumberOfAnUpdateIsNoUpdate(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("only Linux names the program")
	}
	if alive(os.Getpid()) {
		t.Error("this test counts as pulumi")
	}
}
