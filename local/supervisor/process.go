package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that the supervisor keeps running.
type Process struct {
	// Name identifies the process; its log is <name>.log.
	Name string `json:"name"`
	// Args is the command line, starting with the program's path. It must contain no secret, because every user of the
	// machine can read it.
	Args []string `json:"args"`
	// Env is added to the supervisor's own environment.
	Env []string `json:"env,omitempty"`
	// Revision changes when a file that the process reads at its start has changed; a changed revision restarts it.
	Revision string `json:"revision,omitempty"`
	// Nice is the niceness, from -20 to 19, as in nice(1).
	Nice int `json:"nice,omitempty"`
}

// Status is the current state of a process.
type Status struct {
	Process
	PID      int       `json:"pid"`
	Running  bool      `json:"running"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
}

const (
	firstBackoff = time.Second
	maxBackoff   = 15 * time.Second
	// A process that ran this long before it ended counts as healthy.
	healthyAfter = 30 * time.Second
	// etcd and containerd need some seconds to write their data.
	stopGrace = 20 * time.Second
	// The supervisor stops its processes one after the other.
	supervisorGrace = 2 * time.Minute
	supervisorPID   = "supervisor.pid"
	logLimit        = 20 << 20
)

// keeper runs one process and restarts it whenever it ends.
type keeper struct {
	process Process
	dir     string // pid files
	log     string
	report  func(format string, args ...any)

	mu     sync.Mutex
	status Status
	cancel context.CancelFunc
	done   chan struct{}
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	backoff := firstBackoff
	for {
		started := time.Now()
		exit := k.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > healthyAfter {
			backoff = firstBackoff
		}
		k.mu.Lock()
		k.status.Restarts++
		k.status.LastExit = fmt.Sprintf("%s: %s", time.Now().Format(time.RFC3339), exit)
		k.mu.Unlock()
		k.report("%s ended (%s); restarting it in %s; its log: %s", k.process.Name, exit, backoff, k.log)
		select {
		case <-ctx.Done():
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// runOnce starts the process, waits for its end, and returns the reason of its end.
func (k *keeper) runOnce(ctx context.Context) string {
	log, err := openLog(k.log)
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	command := k.process.Args
	if k.process.Nice != 0 { // set at the start, because later it would apply to one thread only
		command = append([]string{"nice", "-n", strconv.Itoa(k.process.Nice)}, command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), k.process.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A separate process group keeps Ctrl-C in the terminal from reaching the node.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err.Error()
	}
	pidFile := filepath.Join(k.dir, k.process.Name+".pid")
	if err := writePID(pidFile, cmd.Process.Pid); err != nil {
		k.report("%s: %v", k.process.Name, err)
	}
	k.mu.Lock()
	k.status.PID, k.status.Running, k.status.Since = cmd.Process.Pid, true, time.Now()
	k.mu.Unlock()

	exited := make(chan struct{})
	stopped := context.AfterFunc(ctx, func() { terminate(cmd.Process.Pid, exited) })
	err = cmd.Wait()
	close(exited)
	stopped()
	_ = os.Remove(pidFile)
	k.mu.Lock()
	k.status.Running, k.status.PID = false, 0
	k.mu.Unlock()
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// terminate sends SIGTERM to the process group, and SIGKILL if it doesn't end.
func terminate(pid int, exited <-chan struct{}) {
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case <-exited:
	case <-time.After(stopGrace):
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

func (k *keeper) stop() {
	k.cancel()
	<-k.done
}

// openLog trims a log and opens it for appending.
func openLog(path string) (*os.File, error) {
	if err := trimLog(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// trimLog copies a log above the size limit to <log>.1 and empties it. The process that writes it has opened it for appending, so
// it continues at the new end.
func trimLog(path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() <= logLimit {
		return err
	}
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path+".1", content, 0o600)
	}
	if err == nil {
		err = os.Truncate(path, 0)
	}
	return err
}

// writePID records a process with its start time, which distinguishes it from a later process with the same number.
func writePID(path string, pid int) error {
	start, err := startTime(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(path, fmt.Appendf(nil, "%d %s\n", pid, start), 0o600)
}

// endRecorded ends every process that has a pid file: the supervisor first, because it would restart the others. A
// supervisor that still responds ends them in order.
func endRecorded(pidDir string) error {
	faults := []error{endPID(filepath.Join(pidDir, supervisorPID), supervisorGrace)}
	files, err := filepath.Glob(filepath.Join(pidDir, "*.pid"))
	faults = append(faults, err)
	for _, file := range files {
		faults = append(faults, endPID(file, stopGrace))
	}
	return errors.Join(faults...)
}

// endPID ends the process in a pid file, unless another process has its number by now, and removes the file.
func endPID(file string, grace time.Duration) error {
	content, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var pid int
	var start string
	if _, err := fmt.Sscan(string(content), &pid, &start); err == nil {
		if now, err := startTime(pid); err == nil && now == start {
			if err := end(pid, grace); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(file); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// end stops a process that isn't a child of this one, first with SIGTERM, then by killing its whole group.
func end(pid int, grace time.Duration) error {
	_ = syscall.Kill(pid, syscall.SIGTERM)
	if gone(pid, grace) {
		return nil
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	if gone(pid, stopGrace) {
		return nil
	}
	return fmt.Errorf("process %d did not end within %s", pid, grace+stopGrace)
}

func gone(pid int, within time.Duration) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if !alive(pid) {
			return true
		}
	}
	return false
}

// alive reports whether the process exists and isn't a zombie.
func alive(pid int) bool {
	stat, err := procStat(pid)
	return err == nil && stat[0] != "Z"
}

// startTime returns field 22 of /proc/<pid>/stat (proc(5)), in clock ticks since boot, joined with the boot ID so that it is
// unique across restarts of the machine.
func startTime(pid int) (string, error) {
	stat, err := procStat(pid)
	if err != nil {
		return "", err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(boot)) + "/" + stat[19], nil
}

// procStat returns the fields of /proc/<pid>/stat from the third (state) on. The second is the program's name in parentheses
// and may contain any characters.
func procStat(pid int) ([]string, error) {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(content[strings.LastIndexByte(string(content), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return nil, fmt.Errorf("process %d: /proc stat has %d fields", pid, len(fields))
	}
	return fields, nil
}
