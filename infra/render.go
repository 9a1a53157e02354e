package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"gopkg.in/yaml.v3"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/image"
	"platform.example/infra/profile"
	"platform.example/infra/release"
	"platform.example/infra/secret"
	"platform.example/infra/stack"
)

// commanded reports whether the program was asked, by its arguments, for something else than pulumi runs it for.
func commanded() bool {
	if len(os.Args) < 2 {
		return false
	}
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "infra:", err)
		os.Exit(1)
	}
	return true
}

func command(args []string) error {
	if len(args) < 2 || len(args) > 3 || args[0] != "render" && args[0] != "profile" {
		return errors.New("want no arguments, as pulumi runs it, or: render <stack> [<its file>], or: profile <stack> [<its file>]")
	}
	root, err := projectRoot()
	if err != nil {
		return err
	}
	name, file := args[1], strings.Join(args[2:], "")
	if args[0] == "profile" {
		return showProfile(root, name, file, os.Stdout)
	}
	objects, err := render(root, name, file)
	if err != nil {
		return err
	}
	return write(objects, filepath.Join(root, ".build", "manifests", name))
}

// object is a Kubernetes object as the program asks for it.
type object = map[string]any

// render is every object of a stack, without a cluster, a state or a secret: what is known only later has a value that
// says so. The file is the stack's configuration, empty for its usual place; the stack local does without.
func render(root, name, file string) ([]object, error) {
	services := catalog.Services()
	config, err := readPlain(context.Background(), root, name, file)
	if err != nil {
		return nil, err
	}
	facing, err := profile.New(config, profile.Facts{})
	if err != nil {
		return nil, err
	}
	wanted := catalog.Secrets(services, true)
	return platform{services: services, config: config, profile: facing, secrets: secret.Unknown(wanted)}.objects(name)
}

// objects is every object that a first update of the stack creates.
func (p platform) objects(stack string) ([]object, error) {
	images := map[string]image.Image{}
	for _, service := range p.services {
		images[service.Name] = image.Unknown(p.config.Registry, service.Name)
	}
	var err error
	p.rollout, p.request = cluster.Within(p.config.Deadline), release.Request{}
	p.images = images
	if p.plans, err = p.plan(nil, images, time.Time{}); err != nil {
		return nil, err
	}
	recorder := &recorder{}
	err = pulumi.RunErr(p.build, pulumi.WithMocks("platform", stack, recorder))
	return recorder.sorted(), err
}

// readPlain is a stack's configuration as far as it holds no secret.
func readPlain(ctx context.Context, root, name, file string) (stack.Stack, error) {
	values, err := stack.Read(ctx, root, name, file)
	if errors.Is(err, os.ErrNotExist) && name == string(stack.Local) {
		values, err = map[string]string{"registry": "localhost:5000"}, nil
	}
	if err != nil {
		return stack.Stack{}, err
	}
	return stack.ParsePlain(name, catalog.Services(), values)
}

// recorder stands in for Pulumi's engine and remembers the objects.
type recorder struct {
	mutex   sync.Mutex
	objects []object
}

// Call answers no invoke: the program makes none.
func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("render: %s needs a cluster", args.Token)
}

// NewResource takes an object down as it is asked for.
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

// generated stands for the random letters at the end of a name that Pulumi generates.
const generated = "-0000"

// write puts each object into a file of its own, <namespace>/<kind>-<name>.yaml, in place of what is in the folder.
func write(objects []object, folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	for _, made := range objects {
		of := cluster.ObjectOf(made)
		path := filepath.Join(folder, cmp.Or(of.Namespace, "cluster"), strings.ToLower(of.Kind+"-"+of.Name+".yaml"))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("render: %w", err)
		}
		var text bytes.Buffer
		encoder := yaml.NewEncoder(&text)
		encoder.SetIndent(2)
		if err := errors.Join(encoder.Encode(made), encoder.Close()); err != nil {
			return fmt.Errorf("render %s: %w", path, err)
		}
		if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil { //nolint:gosec // holds no secret
			return fmt.Errorf("render: %w", err)
		}
	}
	fmt.Printf("%d objects in %s\n", len(objects), folder)
	return nil
}

// sorted is the objects in a steady order, whatever order they were asked for in.
func (r *recorder) sorted() []object {
	key := func(made object) string {
		of := cluster.ObjectOf(made)
		return of.Namespace + of.Kind + of.Name
	}
	slices.SortFunc(r.objects, func(a, b object) int { return strings.Compare(key(a), key(b)) })
	return r.objects
}
