package main

import (
	"io"
	"net/http"
	"strings"
	"time"

	"platform.example/apps/internal/servicetest"
)

// patience is longer than any response may take: 4 s for the request itself.
const patience = 10 * time.Second

// try sends a request as servicetest.Call does, to a service that may be gone:
// status 0 means that there was no response.
func try(at, method, path, body string, headers ...string) servicetest.Response {
	request, err := http.NewRequest(method, at+path, strings.NewReader(body))
	if err != nil {
		return servicetest.Response{Body: err.Error()}
	}
	request.Header.Set("Content-Type", "application/json")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	client := http.Client{Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		return servicetest.Response{Body: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return servicetest.Response{Body: err.Error()}
	}
	return servicetest.Response{Status: response.StatusCode, Header: response.Header, Body: string(raw)}
}
