// Package command is the release command: it makes versions live by blue/green, watches them, and rolls them back.
package command

import (
	"context"
	"errors"
	"flag"
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

var (
	// ErrRolledBack is the result of a release that switched and was rolled back by the watch. The reason is printed.
	ErrRolledBack = errors.New("rolled back")
	// ErrDrift is the result of a comparison that found differences. They are printed.
	ErrDrift = errors.New("drift")
)

// options are the values of the flags.
type options struct {
	stack     string
	json      bool
	takeOver  bool
	version   string
	service   string
	watch     time.Duration
	unwatched bool
	adopt     bool
	reports   string
	email     string
	commit    string
}

// commands are the commands in the order of the usage text.
var commands = []struct {
	name, help string
	do         func(*session, context.Context) error
}{
	{"status", "show the live and the standby versions, and who holds the Lease of releases", (*session).status},
	{"up", "release the sources, or -version", (*session).up},
	{"promote", "release the versions that staging has tested, at -commit or last, on a stack that builds nothing", (*session).promote},
	{"tested", "record that the live versions passed the tests at -commit, so that they can be promoted", (*session).tested},
	{"rollback", "move traffic back to the standby versions at once", (*session).rollback},
	{"retire", "remove the standby versions", (*session).retire},
	{"history", "list the last releases", (*session).history},
	{"settle", "complete the steps that a killed update had begun", (*session).complete},
	{"drift", "compare the cluster with the last update; exit status 2 if they differ", (*session).drift},
	{"admin", "make an admin of the user with -email", (*session).admin},
	{"redrive", "process dead letters and abandoned deliveries to the webhook again", (*session).redrive},
	{"repair", "restore what drift reports; -adopt records the selected colour as live", (*session).repair},
}

// Run runs the command with the arguments of the command line in the repository's root, and prints its progress to out.
func Run(ctx context.Context, args []string, out io.Writer) error {
	var values options
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&values.stack, "stack", "local", "the stack")
	flags.BoolVar(&values.json, "json", false, "print one JSON object a line")
	flags.BoolVar(&values.takeOver, "takeover", false, "take the Lease of releases over from its holder at once")
	flags.StringVar(&values.version, "version", "", "with up: a version or a release's number from the history")
	flags.StringVar(&values.service, "service", "", "with rollback: only this service, not all of the last release")
	flags.DurationVar(&values.watch, "watch", 2*time.Minute, "how long to watch the new version, at least 35s")
	flags.BoolVar(&values.unwatched, "unwatched", false, "release without a watch, even if Prometheus is unreachable")
	flags.BoolVar(&values.adopt, "adopt", false, "with repair: record the selected colour as live")
	flags.StringVar(&values.email, "email", "", "with admin: the email of a user who has signed up")
	flags.StringVar(&values.commit, "commit", "", "with tested and promote: the full hash of a commit of the sources")
	flags.StringVar(&values.reports, "reports", ".build/releases", "the folder for reports")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: release [flags] <command>")
		for _, command := range commands {
			fmt.Fprintf(flags.Output(), "  %-9s %s\n", command.name, command.help)
		}
		flags.PrintDefaults()
	}
	// Flags may come before and after the command.
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	if flags.NArg() > 0 {
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return err
		}
	}
	for _, command := range commands {
		if command.name != name || flags.NArg() > 0 {
			continue
		}
		s, err := open(ctx, values, out)
		if err != nil {
			return err
		}
		return command.do(s, ctx)
	}
	var names []string
	for _, command := range commands {
		names = append(names, command.name)
	}
	if flags.NArg() > 0 {
		name = strings.Join(append([]string{name}, flags.Args()...), " ")
	}
	return fmt.Errorf("there is no command %q: want one of %s", name, strings.Join(names, ", "))
}

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
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown machine"
	}
	return fmt.Sprintf("%s@%s (process %d)", name, host, os.Getpid())
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
