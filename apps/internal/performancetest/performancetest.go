// Package performancetest compares a service with its peers in one run. Each runs in a separate process,
// loaded in turns by the same client. Machines differ and are noisy, so only ratios are meaningful.
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

// partVariable names the environment variable with the part of a peer process.
const partVariable = "PERFORMANCE_TEST_PLAYS"

// Main runs the tests. In a process that Peer has started, it serves the handler of its part instead.
func Main(m *testing.M, parts map[string]func() http.Handler) {
	part, ok := parts[os.Getenv(partVariable)]
	if !ok {
		os.Exit(m.Run())
	}
	server := httptest.NewServer(part())
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with its parent
}

// Process is a running peer.
type Process struct {
	URL string
	PID int
}

// Peer runs a part in a separate process until the test ends. env contains additional environment variables,
// NAME=value.
func Peer(t testing.TB, part string, env ...string) Process {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), partVariable+"="+part), env...)
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

// Measurement is the result of a load.
type Measurement struct {
	PerSecond float64       // requests
	Median    time.Duration // response time
	Requests  float64
}

// report matches the median, the number of requests and their rate in the output of wrk.
var report = regexp.MustCompile(`(?s)50%\s+([0-9.]+(?:us|ms|s))\b.*?(\d+) requests in.*?Requests/sec:\s+([0-9.]+)`)

// Load requests url over the given number of connections for two seconds, with headers "Name: value". It
// fails the test if a response isn't a success.
func Load(t testing.TB, url string, connections int, headers ...string) Measurement {
	t.Helper()
	args := []string{"-t1", "-c" + strconv.Itoa(connections), "-d2s", "--latency"}
	for _, header := range headers {
		args = append(args, "-H", header)
	}
	out, err := exec.Command(backingtest.Find(t, "wrk", "wrk"), append(args, url)...).CombinedOutput()
	found := report.FindStringSubmatch(string(out))
	if err != nil || found == nil || bytes.Contains(out, []byte("Non-2xx")) {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	number := func(text string) float64 { return backingtest.Must[float64](t)(strconv.ParseFloat(text, 64)) }
	median := backingtest.Must[time.Duration](t)(time.ParseDuration(found[1]))
	return Measurement{PerSecond: number(found[3]), Median: median, Requests: number(found[2])}
}

// Median returns the median of figures, which it sorts.
func Median(figures []float64) float64 {
	slices.Sort(figures)
	n := len(figures)
	return (figures[(n-1)/2] + figures[n/2]) / 2
}

// CPU returns the processor time of a process so far.
func CPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	return time.Duration(stat(t, pid).CPUTime() * float64(time.Second))
}

// Memory returns the resident memory of a process in MiB.
func Memory(t testing.TB, pid int) float64 {
	t.Helper()
	return float64(stat(t, pid).ResidentMemory()) / (1 << 20)
}

func stat(t testing.TB, pid int) procfs.ProcStat {
	t.Helper()
	process := backingtest.Must[procfs.Proc](t)(procfs.NewProc(pid))
	return backingtest.Must[procfs.ProcStat](t)(process.Stat())
}

// maxIdle is the limit of an idle service, in MiB.
const maxIdle = 30

// CheckIdleMemory fails the test if a process that has just started uses more than maxIdle.
func CheckIdleMemory(t testing.TB, pid int) {
	t.Helper()
	memory := Memory(t, pid)
	t.Logf("%.1f MiB idle", memory)
	if memory > maxIdle {
		t.Errorf("%.1f MiB idle, want at most %d", memory, maxIdle)
	}
}
