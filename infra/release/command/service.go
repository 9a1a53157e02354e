package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/catalog"
)

// admin makes an admin of the user with that email.
func (s *session) admin(ctx context.Context) error {
	if s.email == "" {
		return errors.New("EMAIL is missing: make admin EMAIL=<email of a user who has signed up>")
	}
	return s.command(ctx, "admin", func(service catalog.Service) bool { return service.KeepsUsers }, map[string]string{"ADMIN_EMAIL": s.email})
}

// redrive processes dead letters and abandoned deliveries again.
func (s *session) redrive(ctx context.Context) error {
	return s.command(ctx, "redrive", func(service catalog.Service) bool { return service.Redrives }, nil)
}

// command runs a subcommand of the live version of the service that has it, and prints the last line of its log.
func (s *session) command(ctx context.Context, subcommand string, has func(catalog.Service) bool, variables map[string]string) error {
	services := catalog.Services()
	service := services[slices.IndexFunc(services, has)].Name
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	if recorded[service].Selected == "" {
		return fmt.Errorf("stack %s: %s isn't live: make release first", s.stack, service)
	}
	output, err := s.cluster.Command(ctx, recorded[service].Selected.Name(service), subcommand, variables)
	if strings.Contains(output, "unknown command") {
		err = fmt.Errorf("the live version of %s doesn't have this command yet: make release first", service)
	}
	if err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, err)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(output), &line); err != nil {
		return fmt.Errorf("stack %s: %s printed %q, want a JSON log line", s.stack, service, output)
	}
	message := line["msg"]
	for _, field := range []string{"msg", "time", "level", "service", "version", "colour"} {
		delete(line, field)
	}
	details := slice.Map(slices.Sorted(maps.Keys(line)), func(name string) string { return fmt.Sprintf("%s %v", name, line[name]) })
	s.out.log("%v (%s)", message, strings.Join(details, ", "))
	return nil
}
