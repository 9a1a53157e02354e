package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"platform.example/infra/catalog"
)

// admin makes an admin of the user with that email.
func (s *session) admin(ctx context.Context) error {
	if s.email == "" {
		return errors.New("EMAIL is missing: make admin EMAIL=<email of a user who has signed up>")
	}
	services := catalog.Services()
	users := services[slices.IndexFunc(services, func(service catalog.Service) bool { return service.KeepsUsers })].Name
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	if recorded[users].Selected == "" {
		return fmt.Errorf("stack %s: %s isn't live: make release first", s.stack, users)
	}
	words, err := s.cluster.Command(ctx, users+"-"+string(recorded[users].Selected), "admin", map[string]string{"ADMIN_EMAIL": s.email})
	if strings.Contains(words, "unknown command") {
		err = fmt.Errorf("the live version of %s is older than this command: make release first", users)
	}
	if err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, err)
	}
	var said struct {
		Message string `json:"msg"`
		User    string `json:"user_id"`
	}
	if err := json.Unmarshal([]byte(words), &said); err != nil {
		return fmt.Errorf("stack %s: %s says %q", s.stack, users, words)
	}
	s.out.say("%s (user %s)", said.Message, said.User)
	return nil
}
