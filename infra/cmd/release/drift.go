package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"k8s.io/apimachinery/pkg/util/wait"

	"platform.example/infra/release"
)

// drift reports what the cluster has otherwise than the last update left it.
func (s *session) drift(ctx context.Context) error {
	holder, renewed, err := s.cluster.Holder(ctx)
	if err != nil {
		return err
	}
	if holder != "" {
		s.out.print("%s holds the Lease of releases (renewed %s): what follows may be its doing", holder, since(renewed))
	}
	_, found, err := s.differences(ctx)
	if err != nil {
		return err
	}
	for _, difference := range found {
		s.out.print("%s", difference)
	}
	s.out.give(map[string]any{"stack": s.stack, "drift": found})
	if len(found) > 0 {
		return errDrift
	}
	s.out.print("no drift: the cluster is as the last update left it")
	return nil
}

// differences compares what the services run with what the last release recorded, which it returns as well, and every other object
// with pulumi's state.
func (s *session) differences(ctx context.Context) (recorded map[string]release.Recorded, found []release.Difference, err error) {
	if recorded, err = s.recorded(ctx); err != nil {
		return nil, nil, err
	}
	found = release.Drift(recorded)
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	happening, heard := make(chan events.EngineEvent, 1024), make(chan []release.Difference, 1)
	go func() {
		var others []release.Difference
		for event := range happening {
			if event.ResOutputsEvent != nil {
				others = append(others, refreshed(event.ResOutputsEvent.Metadata, recorded)...)
			}
		}
		heard <- others
	}()
	_, err = workspace.PreviewRefresh(ctx, optrefresh.EventStreams(happening), optrefresh.ProgressStreams(io.Discard), optrefresh.SuppressOutputs())
	if err != nil {
		return nil, nil, fmt.Errorf("stack %s: compare the cluster with pulumi's state: %w", s.stack, short(err))
	}
	compared := map[string]bool{}
	for _, difference := range found {
		compared[difference.Kind+" "+difference.Name] = true
	}
	for _, other := range <-heard {
		if !compared[other.Kind+" "+other.Name] {
			found = append(found, other)
		}
	}
	return recorded, found, nil
}

// refreshed is what pulumi found to differ from its state. What release.Drift compares of the recorded services is left to it.
func refreshed(step apitype.StepEventMetadata, recorded map[string]release.Recorded) []release.Difference {
	urn := resource.URN(step.URN)
	if !strings.HasPrefix(string(urn.Type()), "kubernetes:") { // the stack's own outputs change with each update
		return nil
	}
	other := release.Difference{Kind: string(urn.Type().Name()), Name: urn.Name()}
	switch step.Op {
	case apitype.OpDelete:
		other.Have = "missing"
	case apitype.OpUpdate:
		if ofRelease(other, recorded) && step.Old != nil && step.New != nil &&
			reflect.DeepEqual(settled(step.Old.Outputs), settled(step.New.Outputs)) {
			return nil
		}
		other.Field, other.Have, other.Want = strings.Join(step.Diffs, ", "), "changed", "what the last update left"
	default:
		return nil
	}
	return []release.Difference{other}
}

// ofRelease reports whether the object is a live Service or the autoscaler of a colour, which release.Drift compares.
func ofRelease(object release.Difference, recorded map[string]release.Recorded) bool {
	for service := range recorded {
		scaled := object.Name == release.Blue.Name(service) || object.Name == release.Green.Name(service)
		if object.Kind == "Service" && object.Name == service || object.Kind == "HorizontalPodAutoscaler" && scaled {
			return true
		}
	}
	return false
}

// settled returns the labels, the annotations and the spec of a Service or an autoscaler without what the retirement of a standby
// version changes past Pulumi: the mark of the live Service, and the autoscaler's bounds, which release.Drift compares.
func settled(object map[string]any) []any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	annotations, spec := maps.Clone(annotations), map[string]any{}
	delete(annotations, release.ReplicasAnnotation)
	for key := range (release.Mark{}).Annotations() {
		delete(annotations, key)
	}
	if of, ok := object["spec"].(map[string]any); ok {
		spec = maps.Clone(of)
		delete(spec, "minReplicas")
		delete(spec, "maxReplicas")
	}
	return []any{metadata["labels"], annotations, spec}
}

// repair restores what drift reports. Where the traffic was moved by hand it goes back to what the last release made live, or,
// to adopt that, what is selected is recorded as live.
func (s *session) repair(ctx context.Context) error {
	return s.locked(ctx, func(ctx context.Context) error {
		recorded, found, err := s.differences(ctx)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			s.out.say("nothing to repair: the cluster is as the last update left it")
			return nil
		}
		for _, difference := range found {
			s.out.say("%s", difference)
		}
		if err := s.cluster.Restore(ctx, found); err != nil {
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
		for name, is := range recorded {
			if is.ByHand(name) == nil {
				continue
			}
			mark := is.Mark
			if s.adopt {
				colour, running := is.Live()
				mark = release.Mark{Live: colour, Version: running.Version, Image: running.Image, TakenBack: is.Mark.Version, At: time.Now()}
			}
			err := s.within(ctx, func(ctx context.Context) error { return s.ready(ctx, name, mark.Live) })
			if err == nil {
				err = s.cluster.Give(ctx, name, is, mark)
			}
			if err != nil {
				return fmt.Errorf("stack %s: %w", s.stack, err)
			}
			s.out.say("%s: %s (%s) is live", name, mark.Live, mark.Version)
		}
		s.refresh = true // what has no record of its own is made again from the sources
		if _, err := s.reconcile(ctx, "repaired by "+s.holder); err != nil {
			return err
		}
		if err := s.within(ctx, s.restored); err != nil {
			return err
		}
		s.out.say("restored: the cluster is as the last release left it")
		return nil
	})
}

// restored is an error while something differs from what the last release recorded.
func (s *session) restored(ctx context.Context) error {
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	for _, difference := range release.Drift(recorded) {
		err = errors.Join(err, fmt.Errorf("stack %s: it isn't restored: %s", s.stack, difference))
	}
	return err
}

// within tries again until there is no error, as long as the stack's deadline allows.
func (s *session) within(ctx context.Context, condition func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, s.config.Deadline, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		return cmp.Or(last, err)
	}
	return nil
}
