package problem

import (
	"errors"
	"net/http"
	"testing"
)

// A parsed problem has the status of the response and no negative wait.
func FuzzRead(f *testing.F) {
	f.Add(404, "application/problem+json", "", []byte(`{"code":"not_found","detail":"There is no such user."}`))
	f.Add(422, "application/problem+json", "", []byte(`{"code":"invalid","errors":[{"pointer":"/name"}]}`))
	f.Add(503, "application/problem+json", "7", []byte(`{"code":"unavailable"}`))
	f.Add(503, "application/problem+json", "-7", []byte(`{"code":"unavailable"}`))
	f.Add(429, "application/problem+json", "9223372036854775807", []byte(`{"code":"too_many_requests"}`))
	f.Add(500, "application/problem+json", "", []byte(`{"code":"internal"}`))
	f.Add(404, "application/json", "", []byte(`{"code":"not_found"}`))
	f.Add(0, "application/problem+json", "", []byte(`{"code":""}`))
	f.Add(200, "application/problem+json", "", []byte(`null`))
	f.Fuzz(func(t *testing.T, status int, media, wait string, content []byte) {
		response := &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {media}, "Retry-After": {wait}}}
		err := Read(response, content)
		if err == nil {
			return
		}
		p, ok := errors.AsType[*Error](err)
		if !ok || p.Code.status() != status || status < 400 || p.RetryAfter < 0 {
			t.Errorf("%d %s %q %q is parsed as %+v", status, media, wait, content, err)
		}
	})
}
