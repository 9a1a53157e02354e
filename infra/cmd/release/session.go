package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/release"
	"platform.example/infra/release/report"
	"platform.example/infra/stack"
)

// session is one run of the command on one stack.
type session struct {
	options
	out      *progress
	config   stack.Stack
	services map[string]catalog.Service
	cluster  *cluster.Cluster
	holder   string // the identity of this run as holder of the Lease
	began    time.Time
	hooks    *hooks // nil until somebody is told
	refresh  bool   // updates compare pulumi's state with the cluster first
}

// open reads the stack's configuration and connects to its cluster, which must be no other stack's. It doesn't ask pulumi,
// which takes a second: a rollback has none to lose.
func open(ctx context.Context, asked options, out io.Writer) (*session, error) {
	s := &session{options: asked, out: newProgress(out, asked.json), began: time.Now(), holder: holder(), services: map[string]catalog.Service{}}
	services := catalog.Services()
	if _, err := os.Stat("Pulumi.yaml"); err != nil {
		return nil, errors.New("no Pulumi.yaml here: run this from the repository's root")
	}
	values, err := stack.Read(ctx, ".", asked.stack, "")
	if errors.Is(err, stack.ErrImports) {
		values, err = s.ask(ctx)
	}
	if errors.Is(err, os.ErrNotExist) {
		known, _ := filepath.Glob(stack.File("*"))
		return nil, fmt.Errorf("there is no stack %s: %s isn't here; there are %v", asked.stack, stack.File(asked.stack), known)
	}
	if err != nil {
		return nil, err
	}
	if s.config, err = stack.ParsePlain(asked.stack, services, values); err != nil {
		return nil, err
	}
	for _, service := range services {
		s.services[service.Name] = service
	}
	target := cluster.Target{Kubeconfig: s.config.Kubeconfig, Context: s.config.KubeContext, Namespaces: s.config.NamespacePrefix}
	if s.cluster, err = target.Connect(ctx); err != nil {
		return nil, fmt.Errorf("stack %s: %w", asked.stack, err)
	}
	// The program says so, too, but a rollback has changed the selectors before it runs.
	return s, s.cluster.Settled(ctx, asked.stack)
}

// ask has pulumi read the plain values of the configuration.
func (s *session) ask(ctx context.Context) (map[string]string, error) {
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return nil, err
	}
	all, err := workspace.GetAllConfig(ctx)
	values := map[string]string{}
	for key, value := range all {
		if name, ours := strings.CutPrefix(key, stack.Namespace+":"); ours && !value.Secret {
			values[name] = value.Value
		}
	}
	return values, err
}

// holder names this process to people.
func holder() string {
	name := os.Getenv("USER")
	if current, err := user.Current(); err == nil {
		name = current.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	return fmt.Sprintf("%s@%s (process %d)", name, host, os.Getpid())
}

// locked does something while nobody else releases.
func (s *session) locked(ctx context.Context, do func(context.Context) error) error {
	lock, held, err := s.cluster.Lock(ctx, s.holder, s.takeOver, func(holder string) {
		s.out.say("%s holds the Lease of releases: waiting up to 20 s to see whether it still renews it", holder)
	})
	if err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, err)
	}
	if lock.From != "" {
		s.out.say("took the Lease of releases over from %s", lock.From)
	}
	err = do(held)
	if lost := context.Cause(held); err != nil && lost != nil && ctx.Err() == nil {
		err = errors.Join(lost, err)
	}
	lock.Release()
	return err
}

// moves is what has changed hands between two looks at the cluster, in the order of the services' names.
func moves(before, after map[string]release.Recorded) []report.Service {
	var found []report.Service
	for _, service := range slices.Sorted(maps.Keys(after)) {
		was, is := before[service], after[service]
		if was.Selected == "" || was.Selected == is.Selected {
			continue
		}
		_, to := is.Live()
		found = append(found, moved(service, was, is.Selected, to))
	}
	return found
}

// moved is a service whose traffic has just gone to another colour, as this machine sees it.
func moved(service string, was release.Recorded, colour release.Colour, to release.Running) report.Service {
	_, from := was.Live()
	return report.Service{
		Name: service, FromVersion: from.Version, ToVersion: to.Version,
		FromColour: string(was.Selected), ToColour: string(colour), Switched: time.Now(),
	}
}
