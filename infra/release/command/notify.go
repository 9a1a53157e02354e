package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/release/report"
	"platform.example/infra/stack"
)

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

// readHooks reads the hooks from the configuration. It ignores errors, since the release reports the same ones.
func (s *session) readHooks(ctx context.Context) *hooks {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return &hooks{}
	}
	values, _ := workspace.GetAllConfig(ctx)
	return &hooks{
		slack:   values[stack.Namespace+":"+catalog.SlackWebhookURL].Value,
		webhook: values[stack.Namespace+":"+catalog.ReleaseWebhookURL].Value,
	}
}

// post doesn't log the address, which is a secret.
func (s *session) post(ctx context.Context, receiver, address string, message any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	defer cancel()
	content, _ := json.Marshal(message) // plain values always encode
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(content))
	if err != nil {
		s.out.log("%s can't be notified: its URL is invalid", receiver)
		return
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.out.log("%s can't be notified: it doesn't respond", receiver)
		return
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		s.out.log("%s can't be notified: it returns %s", receiver, response.Status)
	}
}
