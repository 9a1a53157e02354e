package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"platform.example/local/file"
)

// stateFile is where the backend keeps the stack's state.
func (d *Deployment) stateFile() string {
	return d.file("backend", ".pulumi", "stacks", "platform", Stack+".json")
}

// mendState puts the backend's copy of the state before the last step in place of
// one that a killed pulumi was in the middle of writing. What that step made is
// adopted by the next update, since it applies rather than creates.
func (d *Deployment) mendState() error {
	if err := d.removeCutAttributes(); err != nil {
		return err
	}
	state, copied := d.stateFile(), d.stateFile()+".bak"
	content, err := os.ReadFile(state)
	if err == nil && json.Valid(content) {
		return nil
	}
	former, copyErr := os.ReadFile(copied)
	switch {
	case errors.Is(err, os.ErrNotExist) && errors.Is(copyErr, os.ErrNotExist):
		return nil // nothing was ever deployed
	case copyErr != nil || !json.Valid(former):
		return fmt.Errorf("the stack's state %s is damaged, and its copy %s is no help: make down and make up begin anew", state, copied)
	}
	d.log.Say("a former pulumi was killed while it wrote the stack's state: going back one step")
	return file.Write(state, former, 0o600)
}

// removeCutAttributes removes what the backend keeps beside its files, their content types and checksums, where a killed
// pulumi was in the middle of writing it. It reads no file beside which such a thing is cut off; one with nothing beside it, it does.
func (d *Deployment) removeCutAttributes() error {
	return filepath.WalkDir(d.file("backend"), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // there is no backend yet
		}
		if err != nil || filepath.Ext(path) != ".attrs" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil || json.Valid(content) {
			return err
		}
		return os.Remove(path)
	})
}

// releaseDeadLocks cancels an update whose process is gone, so that the next one may start.
func (d *Deployment) releaseDeadLocks(ctx context.Context, target Target) error {
	locks, err := filepath.Glob(d.file("backend", ".pulumi", "locks", "organization", "platform", Stack, "*.json"))
	if err != nil {
		return err
	}
	dead := 0
	for _, lock := range locks {
		content, err := os.ReadFile(lock)
		if err != nil {
			continue // its holder has just given it up
		}
		var holder struct {
			PID int `json:"pid"`
		}
		if json.Unmarshal(content, &holder) == nil && holder.PID > 0 && !errors.Is(syscall.Kill(holder.PID, 0), syscall.ESRCH) {
			return fmt.Errorf("process %d is changing stack %s right now: wait for it to end, then run this again", holder.PID, Stack)
		}
		dead++
	}
	if dead == 0 {
		return nil
	}
	d.log.Say("a former pulumi was killed: releasing its lock")
	return d.run(ctx, target, nil, "pulumi", "cancel", "--yes", "--stack", Stack, "--non-interactive")
}

// settlePending completes the operations that a killed update had begun: the next
// update couldn't create a second time what that one created and didn't record.
func (d *Deployment) settlePending(ctx context.Context, target Target) error {
	content, err := os.ReadFile(d.stateFile())
	if err != nil {
		return fmt.Errorf("state of stack %s: %w", Stack, err)
	}
	var state struct {
		Checkpoint struct {
			Latest struct {
				Pending []json.RawMessage `json:"pending_operations"`
			} `json:"latest"`
		} `json:"checkpoint"`
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return fmt.Errorf("state of stack %s: %w", Stack, err)
	}
	if len(state.Checkpoint.Latest.Pending) == 0 {
		return nil
	}
	d.log.Say("a former pulumi was killed in the middle of %d steps: completing them", len(state.Checkpoint.Latest.Pending))
	release := filepath.Join(d.layout.Bin(), "release")
	if err := d.goBuild(ctx, "infra", release, "./cmd/release"); err != nil {
		return err
	}
	if err := d.run(ctx, target, nil, release, "-stack", Stack, "settle"); err != nil {
		return fmt.Errorf("complete the steps: %w", err)
	}
	return nil
}

// EndOrphans ends Pulumi's plugins and language hosts whose pulumi was killed: they
// wait for it for ever. Each is called with the address of its pulumi, and nobody
// listens there any more.
func (d *Deployment) EndOrphans() error {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range commands {
		content, _ := os.ReadFile(path)
		args := strings.Split(strings.TrimRight(string(content), "\x00"), "\x00")
		address := args[len(args)-1]
		if _, _, err := net.SplitHostPort(address); err != nil || !strings.HasPrefix(args[0], d.layout.Cache+"/") {
			continue
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return nil
}
