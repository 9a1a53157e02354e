package command

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress prints the progress: lines of text, with a status line below them on a terminal, or one JSON object per line.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	json     bool
	terminal bool
	began    time.Time
	shown    bool // the status line
}

func newProgress(out io.Writer, asJSON bool) *progress {
	file, isFile := out.(*os.File)
	return &progress{out: out, json: asJSON, began: time.Now(), terminal: isFile && !asJSON && term.IsTerminal(int(file.Fd()))}
}

// log prints a line with the elapsed time, or {"said": …} as JSON.
func (p *progress) log(format string, args ...any) {
	p.say(map[string]any{}, fmt.Sprintf(format, args...))
}

// completed is log for the end of a step. As JSON, the line also has the step's name, which programs may rely on: {"said": …, "step": …}.
func (p *progress) completed(step, text string) { p.say(map[string]any{"step": step}, text) }

func (p *progress) say(fields map[string]any, text string) {
	if fields["said"] = text; p.json {
		p.emit(fields)
		return
	}
	p.line(fmt.Sprintf("%6.1fs  %s", time.Since(p.began).Seconds(), text))
}

// print prints a line without a time. It prints nothing as JSON.
func (p *progress) print(format string, args ...any) {
	if !p.json {
		p.line(fmt.Sprintf(format, args...))
	}
}

// emit prints the fields and the time as JSON. It prints nothing as text.
func (p *progress) emit(fields map[string]any) {
	if !p.json {
		return
	}
	fields["at"] = time.Now().UTC().Format(time.RFC3339Nano)
	text, _ := json.Marshal(fields) // plain values always encode
	p.line(string(text))
}

// wait sets the status line.
func (p *progress) wait(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[2K%6.1fs  … %s", time.Since(p.began).Seconds(), text)
		p.shown = true
	}
}

func (p *progress) line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[2K")
		p.shown = false
	}
	fmt.Fprintln(p.out, text)
}
