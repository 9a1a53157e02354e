package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// answerTime is how long an API server may take for its first answer.
const answerTime = 10 * time.Second

// reachable asks the cluster's API server for any answer at all.
func (t Target) reachable(ctx context.Context) error {
	server, err := t.server()
	if err != nil {
		return err
	}
	proxy := http.ProxyFromEnvironment
	if server.ProxyURL != "" {
		through, err := url.Parse(server.ProxyURL)
		if err != nil {
			return fmt.Errorf("cluster %s: proxy-url: %w", server.URL, err)
		}
		proxy = http.ProxyURL(through)
	}
	client := http.Client{Timeout: answerTime, Transport: &http.Transport{
		Proxy: proxy,
		// Nothing secret is sent and the answer isn't used; the provider checks the certificate.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/version", nil)
	if err != nil {
		return fmt.Errorf("cluster %q: %w", server.URL, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the cluster of context %s can't be reached: is it running, and are kubeconfig and "+
			"kubeContext those of this stack? %w", server.context, err)
	}
	return response.Body.Close()
}
