package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"platform.example/infra/cluster"
	"platform.example/infra/release"
)

// drift reports the differences between the cluster and the last update.
func (s *session) drift(ctx context.Context) error {
	holder, renewed, err := s.cluster.Holder(ctx)
	if err != nil {
		return err
	}
	if holder != "" {
		s.out.print("%s holds the Lease of releases (renewed %s) and may cause the following differences", holder, since(renewed))
	}
	_, found, err := s.differences(ctx)
	if err != nil {
		return err
	}
	for _, difference := range found {
		s.out.print("%s", difference)
	}
	s.out.emit(map[string]any{"stack": s.stack, "drift": found})
	if len(found) > 0 {
		return ErrDrift
	}
	s.out.print("no drift: the cluster matches the last update")
	return nil
}

// differences compares the services with the record of the last release, and all other objects with Pulumi's state. It also returns
// the record.
func (s *session) differences(ctx context.Context) (recorded map[string]release.Recorded, found []release.Difference, err error) {
	if recorded, err = s.recorded(ctx); err != nil {
		return nil, nil, err
	}
	found = release.Drift(recorded)
	workspace, err := s.workspace(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	stream, result := make(chan events.EngineEvent, 1024), make(chan []release.Difference, 1)
	go func() {
		var others []release.Difference
		for event := range stream {
			if event.ResOutputsEvent != nil {
				others = append(others, refreshed(event.ResOutputsEvent.Metadata, recorded)...)
			}
		}
		result <- others
	}()
	_, err = workspace.PreviewRefresh(ctx, optrefresh.EventStreams(stream), optrefresh.ProgressStreams(io.Discard), optrefresh.SuppressOutputs())
	if err != nil {
		return nil, nil, fmt.Errorf("stack %s: compare the cluster with Pulumi's state: %w", s.stack, short(err))
	}
	for _, other := range <-result {
		same := func(known release.Difference) bool { return known.Kind == other.Kind && known.Name == other.Name }
		if !slices.ContainsFunc(found, same) {
			found = append(found, other)
		}
	}
	return recorded, found, nil
}

// refreshed converts a step of `pulumi refresh` into a difference. It leaves out what release.Drift compares.
func refreshed(step apitype.StepEventMetadata, recorded map[string]release.Recorded) []release.Difference {
	urn := resource.URN(step.URN)
	if !strings.HasPrefix(string(urn.Type()), "kubernetes:") { // stack outputs change with each update
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
		other.Field, other.Have, other.Want = strings.Join(step.Diffs, ", "), "changed", "the last update's value"
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

// settled returns the labels, the annotations and the spec of a Service or an autoscaler without the fields that a retirement changes
// outside of Pulumi: the mark of the live Service, and the autoscaler's bounds.
func settled(object map[string]any) []any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	spec, _ := object["spec"].(map[string]any)
	annotations, spec = maps.Clone(annotations), maps.Clone(spec)
	delete(annotations, release.ReplicasAnnotation)
	for key := range (release.Mark{}).Annotations() {
		delete(annotations, key)
	}
	delete(spec, "minReplicas")
	delete(spec, "maxReplicas")
	return []any{metadata["labels"], annotations, spec}
}

// repair restores what drift reports. Where a selector was changed by hand, it moves traffic back to the colour that the last release
// made live; with -adopt it records the selected colour as live.
func (s *session) repair(ctx context.Context) error {
	return s.locked(ctx, func(ctx context.Context) error {
		recorded, found, err := s.differences(ctx)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			s.out.log("nothing to repair: the cluster matches the last update")
			return nil
		}
		for _, difference := range found {
			s.out.log("%s", difference)
		}
		if err := s.cluster.Restore(ctx, found); err != nil {
			return fmt.Errorf("stack %s: %w", s.stack, err)
		}
		for name, state := range recorded {
			if state.ByHand(name) == nil {
				continue
			}
			mark := state.Mark
			if s.adopt {
				colour, running := state.Live()
				mark = release.Mark{Live: colour, Version: running.Version, Image: running.Image, TakenBack: state.Mark.Version, At: time.Now()}
			}
			err := cluster.Retry(ctx, time.Second, s.config.Deadline, func(ctx context.Context) error { return s.ready(ctx, name, mark.Live) })
			if err == nil {
				err = s.cluster.Switch(ctx, name, state, mark)
			}
			if err != nil {
				return fmt.Errorf("stack %s: %w", s.stack, err)
			}
			s.out.log("%s: %s (%s) is live", name, mark.Live, mark.Version)
		}
		s.refresh = true // the update then restores objects without a record from the sources
		if _, err := s.reconcile(ctx, "repaired by "+s.holder); err != nil {
			return err
		}
		if err := cluster.Retry(ctx, time.Second, s.config.Deadline, s.restored); err != nil {
			return err
		}
		s.out.log("restored: the cluster matches the last release")
		return nil
	})
}

// restored returns an error while a service differs from the record of the last release.
func (s *session) restored(ctx context.Context) error {
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	for _, difference := range release.Drift(recorded) {
		err = errors.Join(err, fmt.Errorf("stack %s: not restored: %s", s.stack, difference))
	}
	return err
}
