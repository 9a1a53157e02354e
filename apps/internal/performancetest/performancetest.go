// Package performancetest compares a service with its peers in one run: each in
// a process of its own, loaded in turns by the same client. Machines differ and
// are noisy, so that only ratios are worth something.
package performancetest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"platform.example/apps/internal/backingtest"
)

// playing names the part that a test binary plays as a peer.
const playing = "PERFORMANCE_TEST_PLAYS"

// Main runs the tests or, in a process that Peer has started, plays its part.
func Main(m *testing.M, parts map[string]func() http.Handler) {
	part, ok := parts[os.Getenv(playing)]
	if !ok {
		os.Exit(m.Run())
	}
	server := httptest.NewServer(part())
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with who has started it
}

// Process is a peer.
type Process struct {
	URL string
	PID int
}

// Peer plays a part in a process of its own until the test ends. env are
// further variables, NAME=value.
func Peer(t testing.TB, part string, env ...string) Process {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), playing+"="+part), env...)
	stdin := backingtest.Must[io.WriteCloser](t)(c.StdinPipe())
	stdout := backingtest.Must[io.ReadCloser](t)(c.StdoutPipe())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	line := backingtest.Must[string](t)(bufio.NewReader(stdout).ReadString('\n'))
	return Process{URL: strings.TrimSpace(line), PID: c.Process.Pid}
}

// Measured is how a service has answered a load.
type Measured struct {
	PerSecond float64       // requests
	Median    time.Duration // of how long an answer took
	Requests  float64
}

var (
	perSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	median    = regexp.MustCompile(`50%\s+([0-9.]+(?:us|ms|s))\b`)
	requests  = regexp.MustCompile(`(\d+) requests in`)
)

// Load asks for url over so many connections for two seconds, with headers
// "Name: value". It fails where an answer isn't a success.
func Load(t testing.TB, url string, connections int, headers ...string) Measured {
	t.Helper()
	args := []string{"-t1", "-c" + strconv.Itoa(connections), "-d2s", "--latency"}
	for _, header := range headers {
		args = append(args, "-H", header)
	}
	out, err := exec.Command(backingtest.Find(t, "wrk", "wrk"), append(args, url)...).CombinedOutput()
	found := func(pattern *regexp.Regexp) string {
		match := pattern.FindSubmatch(out)
		if err != nil || match == nil || bytes.Contains(out, []byte("Non-2xx")) {
			t.Fatalf("wrk: %v\n%s", err, out)
		}
		return string(match[1])
	}
	number := func(pattern *regexp.Regexp) float64 {
		return backingtest.Must[float64](t)(strconv.ParseFloat(found(pattern), 64))
	}
	half := backingtest.Must[time.Duration](t)(time.ParseDuration(found(median)))
	return Measured{PerSecond: number(perSecond), Median: half, Requests: number(requests)}
}

// Middle is the median.
func Middle(figures []float64) float64 {
	slices.Sort(figures)
	n := len(figures)
	return (figures[(n-1)/2] + figures[n/2]) / 2
}

// CPU is the processor time that a process has taken so far.
func CPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	return time.Duration(stat(t, pid).CPUTime() * float64(time.Second))
}

// Memory is what a process holds, in MiB.
func Memory(t testing.TB, pid int) float64 {
	t.Helper()
	return float64(stat(t, pid).ResidentMemory()) / (1 << 20)
}

func stat(t testing.TB, pid int) procfs.ProcStat {
	t.Helper()
	process := backingtest.Must[procfs.Proc](t)(procfs.NewProc(pid))
	return backingtest.Must[procfs.ProcStat](t)(process.Stat())
}

// maxIdle is what a service may hold while it has nothing to do, in MiB.
const maxIdle = 30

// HoldIdle fails where a process that has just started holds too much.
func HoldIdle(t testing.TB, pid int) {
	t.Helper()
	memory := Memory(t, pid)
	t.Logf("%.1f MiB idle", memory)
	if memory > maxIdle {
		t.Errorf("%.1f MiB idle, want at most %d", memory, maxIdle)
	}
}
