package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"platform.example/local/deploy"
	"platform.example/local/node"
)

// Token signs in as the demo user and prints the access token.
func (p *Platform) Token(ctx context.Context) error {
	stack := deploy.New(p.layout, p.log)
	target := p.target(node.New(p.layout, nil, p.log))
	values := map[string]string{}
	for _, name := range []string{"gatewayUrl", "demoEmail", "demoPassword"} {
		value, err := stack.Output(ctx, target, name)
		if err != nil {
			return err
		}
		values[name] = value
	}
	body, err := json.Marshal(map[string]string{"email": values["demoEmail"], "password": values["demoPassword"]})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, values["gatewayUrl"]+"/api/auth/token", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Detail      string `json:"detail"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return fmt.Errorf("sign in: %s answers %s %s", request.URL, response.Status, answer.Detail)
	}
	fmt.Fprintln(p.out, answer.AccessToken)
	return nil
}
