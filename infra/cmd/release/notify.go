package main

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

// hooks is who is told of a release. They are the stack's secrets, and so are read only once a release is under way.
type hooks struct{ slack, webhook string }

// hookTime is how long one may take: nobody waits for them.
const hookTime = 5 * time.Second

// notify tells of start, switch, rollback and end. That somebody can't be told harms no release.
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
	s.out.give(map[string]any{"event": event, "text": text, "services": services})
	if s.hooks.slack != "" {
		s.post(ctx, "Slack", s.hooks.slack, map[string]any{"text": fmt.Sprintf("*%s*: %s (by %s)", s.stack, text, s.holder)})
	}
	if s.hooks.webhook != "" {
		s.post(ctx, "the webhook", s.hooks.webhook, map[string]any{"event": event, "stack": s.stack, "text": text, "by": s.holder, "services": services})
	}
}

func (s *session) readHooks(ctx context.Context) *hooks {
	found := &hooks{}
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return found // the release itself will say so
	}
	values, err := workspace.GetAllConfig(ctx)
	if err != nil {
		return found
	}
	found.slack = values[stack.Namespace+":"+catalog.SlackWebhookURL].Value
	found.webhook = values[stack.Namespace+":"+catalog.ReleaseWebhookURL].Value
	return found
}

func (s *session) post(ctx context.Context, who, address string, message any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	defer cancel()
	content, err := json.Marshal(message)
	if err != nil {
		panic(err) // of plain values
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(content))
	if err != nil {
		s.out.say("%s can't be told: its address is none", who) // which is a secret
		return
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.out.say("%s can't be told: it doesn't answer", who)
		return
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		s.out.say("%s can't be told: it answers %s", who, response.Status)
	}
}
