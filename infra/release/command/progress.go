package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/release/report"
	"platform.example/infra/stack"
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
	p := &progress{out: out, json: asJSON, began: time.Now()}
	if file, ok := out.(*os.File); ok && !asJSON {
		info, err := file.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
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
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // plain values always encode
	}
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

// hooks are the URLs that are notified of a release. They are secrets of the stack, so they are read only once a release begins.
type hooks struct{ slack, webhook string }

// hookTime is the timeout of one notification.
const hookTime = 5 * time.Second

// notify reports start, switch, rollback and end to the hooks. A hook that fails doesn't fail the release.
func (s *session) notify(ctx context.Context, event, text string, moved []report.Service) {
	if s.hooks == nil {
		s.hooks = s.readHooks(ctx)
	}
	services := []map[string]string{}
	for _, move := range moved {
		services = append(services, map[string]string{"service": move.Name, "from": move.FromVersion, "to": move.ToVersion,
			"fromColour": move.FromColour, "toColour": move.ToColour})
	}
	if len(moved) > 0 {
		text += ": " + joined(moved)
	}
	s.out.emit(map[string]any{"event": event, "text": text, "services": services})
	if s.hooks.slack != "" {
		s.post(ctx, "Slack", s.hooks.slack, map[string]any{"text": fmt.Sprintf("*%s*: %s (by %s)", s.stack, text, s.holder)})
	}
	if s.hooks.webhook != "" {
		s.post(ctx, "the webhook", s.hooks.webhook, map[string]any{"event": event, "stack": s.stack, "text": text, "by": s.holder, "services": services})
	}
}

func (s *session) readHooks(ctx context.Context) *hooks {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return &hooks{} // the release reports the same error
	}
	values, err := workspace.GetAllConfig(ctx)
	if err != nil {
		return &hooks{}
	}
	return &hooks{
		slack:   values[stack.Namespace+":"+catalog.SlackWebhookURL].Value,
		webhook: values[stack.Namespace+":"+catalog.ReleaseWebhookURL].Value,
	}
}

// post doesn't log the address, which is a secret.
func (s *session) post(ctx context.Context, receiver, address string, message any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	defer cancel()
	content, err := json.Marshal(message)
	if err != nil {
		panic(err) // plain values always encode
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(content))
	if err != nil {
		s.out.log("%s can't be notified: its URL is invalid", receiver)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.out.log("%s can't be notified: it doesn't answer", receiver)
		return
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		s.out.log("%s can't be notified: it answers %s", receiver, response.Status)
	}
}
