package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"sigs.k8s.io/yaml"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/image"
	"platform.example/infra/objectref"
	"platform.example/infra/profile"
	"platform.example/infra/project"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// command runs a command other than pulumi's.
func command(args []string) error {
	root, err := projectRoot()
	if err != nil {
		return err
	}
	for len(args) < 4 {
		args = append(args, "")
	}
	name := args[1]
	switch {
	case args[0] == "render" && name != "":
		objects, err := render(root, name, args[2])
		if err != nil {
			return err
		}
		return write(objects, filepath.Join(root, ".build", "manifests", name))
	case args[0] == "profile" && name != "":
		return showProfile(root, name, args[2], os.Stdout)
	case args[0] == "preview" && name != "":
		return summarise(root, name, args[2], os.Stdout)
	case args[0] == "compare" && args[3] != "":
		return compare(root, name, args[2], args[3], os.Stdout)
	default:
		return errors.New("usage: render <stack> [<file>], profile <stack> [<file>], preview <stack> [<commit>] or " +
			"compare <stack> <rendered before> <rendered after>; pulumi runs the program without arguments")
	}
}

// object is a manifest.
type object = map[string]any

// render returns all objects of a stack without a cluster, a state or secrets. Unknown values have placeholders. The file is the
// stack's configuration, empty for the default path. The stack local needs none.
func render(root, name, file string) ([]object, error) {
	services := catalog.Services()
	config, err := readPlain(context.Background(), root, name, file)
	if err != nil {
		return nil, err
	}
	p, err := profile.New(config, profile.Facts{})
	if err != nil {
		return nil, err
	}
	return platform{services: services, config: config, profile: p, secrets: secret.Unknown(catalog.Secrets(services, true))}.objects(name)
}

// objects returns all objects that a first update of the stack creates.
func (p platform) objects(stack string) ([]object, error) {
	images := map[string]image.Image{}
	for _, service := range p.services {
		images[service.Name] = image.Unknown(p.config.Registry, service.Name)
	}
	var err error
	p.rollout, p.request = cluster.Within(p.config.Deadline), release.Request{}
	if p.plans, err = p.plan(context.Background(), nil, images, time.Time{}); err != nil {
		return nil, err
	}
	if p.certificates, err = p.newCertificates(context.Background(), nil); err != nil {
		return nil, err
	}
	recorder := &recorder{}
	err = pulumi.RunErr(p.build, pulumi.WithMocks("platform", stack, recorder))
	return recorder.sorted(), err
}

// readPlain reads a stack's configuration without secrets.
func readPlain(ctx context.Context, root, name, file string) (stack.Stack, error) {
	values, err := project.Read(ctx, root, name, file)
	if errors.Is(err, os.ErrNotExist) && name == string(stack.Local) {
		values, err = map[string]string{"registry": "localhost:5000"}, nil
	}
	if err != nil {
		return stack.Stack{}, err
	}
	return stack.ParsePlain(name, catalog.Services(), values)
}

// recorder is an engine that records the objects.
type recorder struct {
	mutex   sync.Mutex
	objects []object
}

// Call fails, since the program has no invokes.
func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("render: %s needs a cluster", args.Token)
}

// NewResource records an object.
func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	state := args.Inputs.Copy()
	if !strings.HasPrefix(args.TypeToken, "kubernetes:") {
		return args.Name, state, nil
	}
	metadata := resource.PropertyMap{}
	if state["metadata"].IsObject() {
		metadata = state["metadata"].ObjectValue().Copy()
	}
	if _, named := metadata["name"]; !named {
		metadata["name"] = resource.NewStringProperty(args.Name + generated)
	}
	state["metadata"] = resource.NewObjectProperty(metadata)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.objects = append(r.objects, cluster.Plain(state))
	return args.Name, state, nil
}

// generated stands for the random suffix of a generated name.
const generated = "-0000"

// write replaces the folder's content with a file for each object, <namespace>/<kind>-<name>.yaml.
func write(objects []object, folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	for _, manifest := range objects {
		id := objectref.Of(manifest)
		path := filepath.Join(folder, cmp.Or(id.Namespace, "cluster"), strings.ToLower(id.Kind+"-"+id.Name+".yaml"))
		text, err := yaml.Marshal(manifest)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)) //nolint:gosec // holds no secret
		if err != nil {
			return fmt.Errorf("render %s: %w", path, err)
		}
	}
	fmt.Printf("%d objects in %s\n", len(objects), folder)
	return nil
}

// sorted returns the objects in a stable order.
func (r *recorder) sorted() []object {
	slices.SortFunc(r.objects, func(a, b object) int { return cmp.Compare(objectref.Of(a).String(), objectref.Of(b).String()) })
	return r.objects
}

// showProfile prints the profile of a stack's cluster with the source of each value, and what will be missing.
func showProfile(root, name, file string, out io.Writer) error {
	ctx := context.Background()
	config, err := readPlain(ctx, root, name, file)
	if err != nil {
		return err
	}
	here, err := cluster.Target{
		Kubeconfig: within(root, config.Kubeconfig), Context: config.KubeContext, Namespaces: config.NamespacePrefix,
	}.Connect(ctx)
	if err != nil {
		return fmt.Errorf("stack %s: %w", name, err)
	}
	p, err := profile.New(config, here.Discover(ctx, config.Cluster.NodeSelector))
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tSOURCE")
	for _, line := range p.Lines {
		fmt.Fprintf(table, "%s\t%s\t%s\n", line.Name, line.Value, line.Source)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, missing := range p.Missing {
		if i == 0 {
			fmt.Fprintln(out, "\nWhat will be missing:")
		}
		fmt.Fprintln(out, "- "+missing)
	}
	return nil
}
