package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress tells what happens: to people line by line, with what is under way below on a terminal; to machines one JSON
// object a line.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	json     bool
	terminal bool
	began    time.Time
	shown    bool // a line of what is under way is on the terminal
}

func newProgress(out io.Writer, asJSON bool) *progress {
	p := &progress{out: out, json: asJSON, began: time.Now()}
	if file, ok := out.(*os.File); ok && !asJSON {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// say tells people something, and machines the same as {"said": …}.
func (p *progress) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.json {
		p.give(map[string]any{"said": text})
		return
	}
	p.line(fmt.Sprintf("%6.1fs  %s", time.Since(p.began).Seconds(), text))
}

// print is a line without a time.
func (p *progress) print(format string, args ...any) {
	if !p.json {
		p.line(fmt.Sprintf(format, args...))
	}
}

// give tells machines a value with the time.
func (p *progress) give(fields map[string]any) {
	if !p.json {
		return
	}
	fields["at"] = time.Now().UTC().Format(time.RFC3339Nano)
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // of plain values
	}
	p.line(string(text))
}

// underWay shows what is being waited for, on a terminal only.
func (p *progress) underWay(text string) {
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
