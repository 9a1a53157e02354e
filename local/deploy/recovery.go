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
	"strings"
	"syscall"
	"time"

	"platform.example/local/file"
	"platform.example/local/host"
)

// stateFile is the path of the stack's state in the backend.
func (d *Deployment) stateFile() string {
	return d.file("backend", ".pulumi", "stacks", "platform", Stack+".json")
}

// state is the part of the stack's state that this package reads.
type state struct {
	Resources []json.RawMessage `json:"resources"`
	Pending   []json.RawMessage `json:"pending_operations"`
}

func (d *Deployment) readState() (state, error) {
	var stored struct{ Checkpoint struct{ Latest state } }
	content, err := os.ReadFile(d.stateFile())
	if err == nil {
		err = json.Unmarshal(content, &stored)
	}
	if err != nil {
		return state{}, fmt.Errorf("state of stack %s: %w", Stack, err)
	}
	return stored.Checkpoint.Latest, nil
}

// mendState replaces a state that a killed pulumi left half-written by the backend's copy from before the last step. The next
// update adopts the objects of that step, because it applies rather than creates them.
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
		return nil // no deployment yet
	case copyErr != nil || !json.Valid(former):
		return fmt.Errorf("the stack's state %s is damaged, and so is its copy %s: start over with make down and make up", state, copied)
	}
	d.log.Say("a previous pulumi was killed while it wrote the stack's state: restoring the state before its last step")
	return file.Write(state, former, 0o600)
}

// removeCutAttributes removes attribute files of the backend (content types and checksums) that a killed pulumi left half-written.
// The backend can't read a file with a truncated attribute file, but it can read one without.
func (d *Deployment) removeCutAttributes() error {
	return filepath.WalkDir(d.file("backend"), func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no backend yet
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

// releaseDeadLocks cancels an update whose process no longer exists, so that the next one can start.
func (d *Deployment) releaseDeadLocks(ctx context.Context, target Target) error {
	locks, err := filepath.Glob(d.file("backend", ".pulumi", "locks", "organization", "platform", Stack, "*.json"))
	if err != nil {
		return err
	}
	dead := 0
	for _, lock := range locks {
		content, err := os.ReadFile(lock)
		if err != nil {
			continue // its holder has just released it
		}
		var holder struct {
			PID int `json:"pid"`
		}
		err = json.Unmarshal(content, &holder)
		// After a restart of the machine, another program may have its PID.
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", holder.PID)); err == nil && string(name) == "pulumi\n" {
			return fmt.Errorf("process %d is changing stack %s: wait until it ends, then retry", holder.PID, Stack)
		}
		dead++
	}
	if dead == 0 {
		return nil
	}
	d.log.Say("a previous pulumi was killed: releasing its lock")
	return d.run(ctx, target, nil, "pulumi", "cancel", "--yes", "--stack", Stack, "--non-interactive")
}

// settlePending completes the operations that a killed update had started, because the next update couldn't create again
// an object that the killed one created but didn't record.
func (d *Deployment) settlePending(ctx context.Context, target Target) error {
	current, err := d.readState()
	if err != nil || len(current.Pending) == 0 {
		return err
	}
	d.log.Say("a previous pulumi was killed during %d steps: completing them", len(current.Pending))
	release := filepath.Join(d.layout.Bin(), "release")
	if err := d.goBuild(ctx, "infra", release, "./cmd/release"); err != nil {
		return err
	}
	if err := d.run(ctx, target, nil, release, "-stack", Stack, "settle"); err != nil {
		return fmt.Errorf("complete the steps: %w", err)
	}
	return nil
}

// EndOrphans kills Pulumi's plugins and language hosts whose pulumi was killed, because they would wait for it forever. A
// process is an orphan if nothing listens at the address of pulumi in its command line.
func (d *Deployment) EndOrphans() {
	for pid, args := range host.Processes() {
		address := args[len(args)-1]
		if _, _, err := net.SplitHostPort(address); err != nil || !strings.HasPrefix(args[0], d.layout.Cache+"/") {
			continue
		}
		if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			_ = conn.Close()
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
