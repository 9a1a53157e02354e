package command

import (
	"cmp"
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
	"platform.example/infra/project"
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
	holder   string // this run's identity as holder of the Lease of releases
	leased   bool   // this run holds the Lease
	began    time.Time
	hooks    *hooks // nil until the first notification
	refresh  bool   // updates compare Pulumi's state with the cluster first
}

// open reads the stack's configuration and connects to its cluster. It fails if the cluster belongs to another stack. It doesn't run
// pulumi unless it must, since that takes a second, which a rollback can't afford.
func open(ctx context.Context, values options, out io.Writer) (*session, error) {
	s := &session{options: values, out: newProgress(out, values.json), began: time.Now(), holder: holder(), services: map[string]catalog.Service{}}
	services := catalog.Services()
	if _, err := os.Stat("Pulumi.yaml"); err != nil {
		return nil, errors.New("no Pulumi.yaml here: run this from the repository's root")
	}
	config, err := project.Read(ctx, ".", s.stack, "")
	if errors.Is(err, project.ErrImports) {
		config, err = s.pulumiConfig(ctx)
	}
	if errors.Is(err, os.ErrNotExist) {
		known, _ := filepath.Glob(project.File("*"))
		return nil, fmt.Errorf("there is no stack %s: %s is missing; existing files: %v", s.stack, project.File(s.stack), known)
	}
	if err != nil {
		return nil, err
	}
	if s.config, err = stack.ParsePlain(s.stack, services, config); err != nil {
		return nil, err
	}
	for _, service := range services {
		s.services[service.Name] = service
	}
	target := cluster.Target{Kubeconfig: s.config.Kubeconfig, Context: s.config.KubeContext, Namespaces: s.config.NamespacePrefix}
	if s.cluster, err = target.Connect(ctx); err != nil {
		return nil, fmt.Errorf("stack %s: %w", s.stack, err)
	}
	// The Pulumi program checks this too, but a rollback patches selectors before it runs.
	return s, s.cluster.Settled(ctx, s.stack)
}

// pulumiConfig reads the plain values of the configuration with pulumi.
func (s *session) pulumiConfig(ctx context.Context) (map[string]string, error) {
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

// holder returns the user, the host and the id of this process.
func holder() string {
	name := os.Getenv("USER")
	if current, err := user.Current(); err == nil {
		name = current.Username
	}
	host, _ := os.Hostname()
	return fmt.Sprintf("%s@%s (process %d)", name, cmp.Or(host, "an unknown machine"), os.Getpid())
}

// locked calls do while it holds the Lease of releases.
func (s *session) locked(ctx context.Context, do func(context.Context) error) error {
	lock, held, err := s.cluster.Lock(ctx, s.holder, s.takeOver, func(holder string) {
		s.out.log("%s holds the Lease of releases: waiting up to 20 s to see whether it still renews it", holder)
	})
	if err != nil {
		return fmt.Errorf("stack %s: %w", s.stack, err)
	}
	if lock.From != "" {
		s.out.log("took the Lease of releases over from %s", lock.From)
	}
	s.leased = true
	err = do(held)
	if lost := context.Cause(held); err != nil && lost != nil && ctx.Err() == nil {
		err = errors.Join(lost, err)
	}
	lock.Release()
	return err
}

// moves returns the services whose selected colour differs between two states, sorted by name.
func moves(before, after map[string]release.Recorded) []report.Service {
	var found []report.Service
	for _, service := range slices.Sorted(maps.Keys(after)) {
		if old := before[service].Selected; old != "" && old != after[service].Selected {
			colour, running := after[service].Live()
			found = append(found, moved(service, before[service], colour, running))
		}
	}
	return found
}

// moved is a service whose traffic has just moved to another colour.
func moved(service string, before release.Recorded, colour release.Colour, to release.Running) report.Service {
	old, from := before.Live()
	return report.Service{
		Name: service, FromVersion: from.Version, ToVersion: to.Version,
		FromColour: string(old), ToColour: string(colour), Switched: time.Now(),
	}
}
