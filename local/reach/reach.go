// Package reach finds out which hosts on the internet this machine can reach, once per run.
package reach

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"platform.example/local/progress"
)

// Limit is the time within which a reachable host responds.
const Limit = 4 * time.Second

// Hosts remembers which hosts respond. It is safe for concurrent use.
type Hosts struct {
	client http.Client
	log    *progress.Log
	probes sync.Map // by host
}

// New returns Hosts that wait up to the limit for a response, and log each host that can't be reached.
func New(limit time.Duration, log *progress.Log) *Hosts {
	return &Hosts{client: http.Client{Timeout: limit}, log: log}
}

// Reachable reports whether the host of the URL responds. The first call for a host requests the URL, and follows redirects, because
// another host often serves the files. Later and concurrent calls return the same result.
func (h *Hosts) Reachable(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil {
		return false
	}
	probe, _ := h.probes.LoadOrStore(parsed.Host, sync.OnceValue(func() bool {
		response, err := h.client.Head(address)
		if err == nil {
			_ = response.Body.Close()
			// A proxy refuses the host or doesn't reach it. Other errors are the host's own.
			if code := response.StatusCode; code == http.StatusForbidden || code >= http.StatusInternalServerError {
				err = fmt.Errorf("the response is %s", response.Status)
			}
		}
		if err != nil {
			h.log.Say("%s can't be reached: %v", parsed.Host, err)
		}
		return err == nil
	}))
	return probe.(func() bool)()
}
