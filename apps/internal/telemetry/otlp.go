package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// exportTimeout bounds one export. One that fails is dropped and said so:
// traces are samples, and requests must never wait for them.
const exportTimeout = 3 * time.Second

// otlpClient sends spans over OTLP/HTTP with binary protobuf. It is ours
// because the SDK's own one links all of gRPC, which makes a binary about 8 MB
// larger although nothing of it is used.
type otlpClient struct {
	url  string
	http *http.Client
}

// newOTLPClient returns a client for the collector at base; the path below it
// is fixed by the OTLP specification.
func newOTLPClient(base *url.URL) *otlpClient {
	return &otlpClient{
		url:  base.JoinPath("v1", "traces").String(),
		http: &http.Client{Timeout: exportTimeout, Transport: &http.Transport{}},
	}
}

func (c *otlpClient) Start(context.Context) error { return nil }

func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData and ExportTraceServiceRequest are the same on the wire.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encoding spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the collector at %s answers %s", c.url, response.Status)
	}
	return nil
}
