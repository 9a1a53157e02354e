package platform

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	outputs, err := stack.Outputs(ctx, target)
	if err != nil {
		return err
	}
	if _, err := p.curl(outputs); err != nil { // the next command needs its file, and the authority may have been rotated
		return err
	}
	body, err := json.Marshal(map[string]string{"email": outputs.DemoEmail, "password": outputs.DemoPassword})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, outputs.URL+"/api/auth/token", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := trusting(outputs.Authority).Do(request)
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		Detail      string `json:"detail"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		return fmt.Errorf("sign in: %s returns %s %s", request.URL, response.Status, answer.Detail)
	}
	fmt.Fprintln(p.out, answer.AccessToken)
	return nil
}

// trusting returns a client that trusts the authority, if there is one, beside the system's authorities.
func trusting(authority string) *http.Client {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM([]byte(authority))
	return &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
}
