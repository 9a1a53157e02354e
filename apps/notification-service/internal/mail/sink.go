package mail

import (
	"context"
	"net/http"
	"sync"

	"platform.example/apps/internal/httpjson"
)

// kept is the maximum number of emails in a Sink.
const kept = 100

// Sink keeps the latest emails in memory if there is no mail server.
type Sink struct {
	mu    sync.Mutex
	mails []Mail
}

// Send implements Sender.
func (s *Sink) Send(_ context.Context, m Mail) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	s.mails = s.mails[max(0, len(s.mails)-kept):]
	return nil
}

// ServeHTTP sends the emails as JSON, newest last.
func (s *Sink) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	mails := append([]Mail{}, s.mails...)
	s.mu.Unlock()
	_ = httpjson.Write(w, http.StatusOK, mails)
}
