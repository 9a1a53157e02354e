package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"platform.example/infra/objectref"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
)

// update runs `pulumi up` with the request and returns its steps. The error holds the diagnostics of the engine and of the program.
func (s *session) update(ctx context.Context, request release.Request, message string) ([]report.Step, error) {
	if s.leased {
		request.Holder = s.holder
	}
	workspace, err := s.workspace(ctx, map[string]string{release.RequestVariable: request.String()})
	if err != nil {
		return nil, err
	}
	steps, err := s.carryOut(ctx, workspace, message)
	if err != nil && auto.IsConcurrentUpdateError(err) {
		if err := s.unlock(ctx, workspace, err); err != nil {
			return steps, err
		}
		return s.carryOut(ctx, workspace, message)
	}
	return steps, err
}

func (s *session) workspace(ctx context.Context, environment map[string]string) (auto.Stack, error) {
	workspace, err := auto.SelectStackLocalSource(ctx, s.stack, ".", auto.EnvVars(environment))
	if err != nil {
		return workspace, fmt.Errorf("stack %s: pulumi doesn't have it, or isn't on PATH (`eval \"$(make -s env)\"` sets PATH for the stack local): %w",
			s.stack, short(err))
	}
	return workspace, nil
}

// short is an error of the Automation API without pulumi's standard output.
func short(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\ncode: ")
	if _, stderr, found := strings.Cut(err.Error(), "stderr: "); found {
		text += ": " + strings.TrimSpace(stderr)
	}
	return errors.New(strings.Join(strings.Fields(text), " "))
}

// carryOut completes the steps of a killed update, and runs `pulumi up` once.
func (s *session) carryOut(ctx context.Context, workspace auto.Stack, message string) ([]report.Step, error) {
	if err := s.settle(ctx, workspace); err != nil {
		return nil, err
	}
	stream, over := make(chan events.EngineEvent, 1024), make(chan struct{})
	l := &listener{session: s, under: map[string]report.Step{}}
	var listening sync.WaitGroup
	listening.Go(func() { l.listen(stream, over) })
	options := []optup.Option{optup.EventStreams(stream), optup.Message(message), optup.SuppressOutputs(),
		optup.ProgressStreams(io.Discard), optup.UserAgent("platform-release")}
	if s.refresh {
		options = append(options, optup.Refresh())
	}
	_, err := workspace.Up(ctx, options...)
	close(over) // the Automation API doesn't close the stream of a run that pulumi refuses
	listening.Wait()
	if err == nil || auto.IsConcurrentUpdateError(err) { // callers need the unwrapped type
		return l.steps, err
	}
	if ctx.Err() != nil || len(l.faults) == 0 {
		return l.steps, errors.Join(context.Cause(ctx), short(err))
	}
	return l.steps, errors.New(strings.Join(l.faults, "; "))
}

// listener converts events of pulumi's engine into steps.
type listener struct {
	session *session
	under   map[string]report.Step // in progress, by URN
	steps   []report.Step          // finished
	faults  []string
}

// listen handles events until the stream is closed, or until over is closed and the stream is empty.
func (l *listener) listen(stream <-chan events.EngineEvent, over <-chan struct{}) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case event, more := <-stream:
			if !more {
				return
			}
			l.handle(event.EngineEvent)
		case <-over:
			for len(stream) > 0 {
				l.handle((<-stream).EngineEvent)
			}
			return
		case <-tick.C:
			var waiting []string
			for _, step := range l.under {
				waiting = append(waiting, step.Name)
			}
			if slices.Sort(waiting); len(waiting) > 0 {
				l.session.out.wait(strings.Join(waiting, ", "))
			}
		}
	}
}

func (l *listener) handle(event apitype.EngineEvent) {
	switch {
	case event.ResourcePreEvent != nil:
		step := event.ResourcePreEvent.Metadata
		if name := stepName(step); name != "" {
			l.under[step.URN] = report.Step{Name: name, Began: time.Now(), Detail: string(step.Op)}
		}
	case event.ResOutputsEvent != nil:
		l.end(event.ResOutputsEvent.Metadata.URN, false)
	case event.ResOpFailedEvent != nil:
		l.end(event.ResOpFailedEvent.Metadata.URN, true)
	case event.DiagnosticEvent != nil:
		l.diagnose(*event.DiagnosticEvent)
	}
}

func (l *listener) end(urn string, failed bool) {
	step, known := l.under[urn]
	if !known {
		return
	}
	delete(l.under, urn)
	step.Took, step.Failed = time.Since(step.Began), failed
	l.steps = append(l.steps, step)
	if failed {
		l.session.out.log("%s: failed", step.Name)
	} else {
		l.session.out.completed(step.Name, fmt.Sprintf("%s (%.1f s)", step.Name, step.Took.Seconds()))
	}
}

// diagnose collects the errors of the program and the engine, and prints the sentences of plans. It skips errors that only repeat that
// something failed.
func (l *listener) diagnose(event apitype.DiagnosticEvent) {
	text := programError(strings.TrimSpace(colours.ReplaceAllString(event.Message, "")))
	switch {
	case text == "" || event.Ephemeral:
	case event.Severity == "error" && !repetition.MatchString(text):
		text = strings.Join(strings.Fields(text), " ")
		if !slices.Contains(l.faults, text) {
			l.faults = append(l.faults, text)
		}
	case strings.HasPrefix(event.Severity, "info") && (event.URN == "" || strings.Contains(event.URN, "pulumi:pulumi:Stack")):
		for line := range strings.Lines(text) {
			if release.Planned.MatchString(line) {
				line = strings.TrimSpace(line)
				service, _, _ := strings.Cut(line, " ")
				l.session.out.completed(service+": plan", line)
			}
		}
	}
}

var (
	// colours matches pulumi's colour tags and the escape sequences of terminals.
	colours = regexp.MustCompile(`<\{%[^%]*%\}>|\x1b\[[0-9;]*m`)
	// headline is the first line of several errors.
	headline = regexp.MustCompile(`^\s*\d+ errors? occurred:`)
	// repetition matches errors that only repeat that something failed.
	repetition = regexp.MustCompile(`update failed|resource registration failed|an unhandled error occurred`)
	// ofColour matches a name such as user-service-green-verify.
	ofColour = regexp.MustCompile(fmt.Sprintf(`^(.+?)-(%s|%s)(?:-(.+))?$`, release.Blue, release.Green))
)

// programError returns the program's own errors without the text that the Pulumi SDK adds.
func programError(text string) string {
	_, list, found := strings.Cut(text, "program failed:")
	if !found {
		return text
	}
	list = strings.TrimSpace(headline.ReplaceAllString(list, ""))
	return strings.ReplaceAll(strings.TrimPrefix(list, "* "), "\n\t* ", "; ")
}

// stepName is the displayed name of a step. It is empty for steps that aren't displayed.
func stepName(step apitype.StepEventMetadata) string {
	if step.Op == apitype.OpSame || strings.HasPrefix(string(step.Op), "delete") || step.Op == apitype.OpRead || step.Op == apitype.OpRefresh {
		return ""
	}
	urn := resource.URN(step.URN)
	name := urn.Name()
	kind := step.Type[strings.LastIndex(step.Type, ":")+1:]
	if !strings.Contains(string(urn), "platform:workload:Service$") && kind != "Image" {
		return ""
	}
	service, colour, job := name, "", ""
	if parts := ofColour.FindStringSubmatch(name); parts != nil {
		service, colour, job = parts[1], parts[2], parts[3]
	}
	switch kind {
	case "Image":
		return name + ": image"
	case "Deployment":
		return fmt.Sprintf("%s: roll out %s", service, colour)
	case "Job":
		if service, _, migrates := strings.Cut(name, "-migrate-"); migrates {
			return service + ": migrate"
		}
		return fmt.Sprintf("%s: %s %s", service, job, colour)
	case "Service":
		if colour == "" {
			return service + ": switch"
		}
	}
	return ""
}

// complete completes what a killed update had begun.
func (s *session) complete(ctx context.Context) error {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return err
	}
	return s.settle(ctx, workspace)
}

// settle completes the steps that a killed update had begun. It imports objects that the update created but didn't record into Pulumi's
// state if the stack owns them. Otherwise the next update would fail to create them.
func (s *session) settle(ctx context.Context, workspace auto.Stack) error {
	state, err := workspace.Export(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, short(err))
	}
	var deployment apitype.DeploymentV3
	if err := json.Unmarshal(state.Deployment, &deployment); err != nil {
		return fmt.Errorf("stack %s: read its state: %w", s.stack, err)
	}
	if len(deployment.PendingOperations) == 0 {
		return nil
	}
	s.out.log("an update was killed in the middle of %d steps: completing them", len(deployment.PendingOperations))
	args := []string{"refresh", "--yes", "--skip-preview", "--non-interactive", "--suppress-outputs", "--stack", s.stack, "--clear-pending-creates"}
	for _, step := range deployment.PendingOperations {
		object := objectref.Of(step.Resource.Inputs)
		if step.Type != apitype.OperationTypeCreating || object.Kind == "" || object.Name == "" {
			continue
		}
		owned, err := s.cluster.Owns(ctx, s.stack, object)
		if err != nil {
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
		if owned {
			args = append(args, "--import-pending-creates", string(step.Resource.URN), "--import-pending-creates", object.ID())
		}
	}
	output, err := pulumi(ctx, args...)
	if err != nil && lockedBy.MatchString(output) { // by the update that was killed
		if err := s.unlock(ctx, workspace, errors.New(output)); err != nil {
			return err
		}
		output, err = pulumi(ctx, args...)
	}
	if err != nil {
		return fmt.Errorf("stack %s: pulumi refresh: %w: %s", s.stack, err, strings.TrimSpace(output))
	}
	// The next update uses another field manager than the one that created the objects.
	workspace.Workspace().SetEnvVar(patchForce, "true")
	return nil
}

// pulumi runs the command line for what the Automation API can't do.
func pulumi(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "pulumi", args...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // so that pulumi saves its state
	output, err := command.CombinedOutput()
	return string(output), err
}

// unlock removes the backend's lock of an update whose process is dead. This run holds the Lease of releases, so no other update is
// about to begin. unlock keeps a lock that it can't parse, since its update may be running.
func (s *session) unlock(ctx context.Context, workspace auto.Stack, refused error) error {
	host, _ := os.Hostname()
	locks := lockedBy.FindAllStringSubmatch(refused.Error(), -1)
	if len(locks) == 0 {
		return fmt.Errorf("stack %s: another update is running or was killed: wait for its end; if none is running, run "+
			"`pulumi cancel --stack %[1]s`: %w", s.stack, short(refused))
	}
	for _, lock := range locks {
		pid, _ := strconv.Atoi(lock[2])
		if lock[1] != host || alive(pid) {
			return fmt.Errorf("stack %s: pulumi (process %s on %s) is updating it: wait for its end, or stop it; if that machine is gone, run "+
				"`pulumi cancel --stack %[1]s`", s.stack, lock[2], lock[1])
		}
	}
	s.out.log("an update was killed: removing its lock")
	if err := workspace.Cancel(ctx); err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, short(err))
	}
	workspace.Workspace().SetEnvVar(patchForce, "true")
	return nil
}

// alive reports whether a pulumi with this process id runs on this machine. After a restart of the machine, another program may have the
// id. A process that has ended remains as a zombie if nothing waits for it, as in a container whose first process doesn't.
func alive(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil { // only Linux has it
		return true
	}
	name, state := stat[:bytes.LastIndexByte(stat, ')')+1], stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.Contains(name, []byte("pulumi")) && !bytes.HasPrefix(state, []byte(" Z"))
}

// patchForce lets the Kubernetes provider change fields that another field manager owns. The Pulumi program still refuses to take over
// objects of another owner.
const patchForce = "PULUMI_K8S_ENABLE_PATCH_FORCE"

// lockedBy matches the holder of the lock in the error of a self-managed backend.
var lockedBy = regexp.MustCompile(`created by \S+@(\S+) \(pid (\d+)\)`)
