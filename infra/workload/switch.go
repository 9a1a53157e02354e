package workload

import (
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/cluster"
	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// URL is where a service answers inside the cluster.
func URL(prefix namespace.Prefix, service string) string {
	return fmt.Sprintf("http://%s:%d", prefix.Host(service, namespace.Apps), catalog.HTTPPort)
}

// Switch makes the live Services, each of which leads to the colour of its plan. Those whose traffic moves do so together:
// no selector changes before the candidates of all are verified, and before every one has as many endpoints as carry the
// traffic now. If anything of that fails, all of them stay where they are. What it returns is known once they have switched, and when.
func Switch(
	ctx *pulumi.Context, rollout cluster.Rollout, services []*Service,
) (switched pulumi.ArrayOutput, at pulumi.StringOutput, err error) {
	var guards []cluster.Guard
	var completed, ready pulumi.Array
	for _, service := range services {
		if plan := service.args.Plan; plan.Moves() {
			guards = append(guards, cluster.Guard{Service: plan.Live.Name(service.args.Service.Name), Ready: plan.Replicas})
			completed = append(completed, service.completed)
		}
	}
	// Candidates are verified when all of them run: before, their nodes are busy with beginning.
	running := completed.ToArrayOutput()
	for _, service := range services {
		steps := pulumi.Array{service.completed}
		if service.args.Plan.Mark.Verified != "" {
			verified, err := service.colour.newVerification(ctx, service.environment, running, pulumi.Parent(service))
			if err != nil {
				return switched, at, fmt.Errorf("service %s: %w", service.args.Service.Name, err)
			}
			steps = append(steps, verified)
		}
		if service.args.Plan.Moves() {
			ready = append(ready, steps)
		}
	}
	open := rollout.Guarded(ctx, guards, ready)
	// The moment of the switch, one for all: services that switched together roll back together.
	at = open.ApplyT(func([]string) string { return release.Timestamp(time.Now()) }).(pulumi.StringOutput)
	var live pulumi.Array
	for _, service := range services {
		made, err := service.goLive(ctx, open, at)
		if err != nil {
			return switched, at, fmt.Errorf("service %s: %w", service.args.Service.Name, err)
		}
		live = append(live, made.ID(), service.completed)
	}
	return live.ToArrayOutput(), at, nil
}

// goLive makes the live Service. The mark is written together with the selector that it speaks of.
func (s *Service) goLive(ctx *pulumi.Context, open pulumi.StringArrayOutput, at pulumi.StringOutput) (*corev1.Service, error) {
	a, plan := s.args, s.args.Plan
	after := []any{a.Images[plan.Live].Reference}
	if plan.Moves() && !ctx.DryRun() { // a preview shows where it leads, without waiting
		after = append(after, open, at)
	}
	// written is what the Service says of the mark that it gets.
	written := func(of func(release.Mark) string) pulumi.StringOutput {
		return pulumi.All(after...).ApplyT(func(known []any) string {
			if len(known) > 1 && !slices.Contains(known[1].([]string), plan.Live.Name(a.Service.Name)) {
				return of(plan.Was)
			}
			mark := plan.Mark
			mark.Image = known[0].(string)
			if len(known) > 1 {
				mark.At = release.ReadTimestamp(known[2].(string))
			}
			return of(mark)
		}).(pulumi.StringOutput)
	}
	annotations := a.annotations()
	for key := range plan.Mark.Annotations() {
		annotations[key] = written(func(mark release.Mark) string { return mark.Annotations()[key] })
	}
	metadata := a.metadata(a.Service.Name, a.labels(), annotations)
	service, err := corev1.NewService(ctx, a.Service.Name, &corev1.ServiceArgs{
		Metadata: metadata, Spec: a.serviceSpec(a.selecting(written(func(mark release.Mark) string { return string(mark.Live) }))),
	}, pulumi.Parent(s))
	if err != nil {
		return nil, err
	}
	s.live = service
	return service, ctx.RegisterResourceOutputs(s, pulumi.Map{
		"version":    pulumi.String(plan.Version),
		"colour":     pulumi.String(plan.Live),
		"deployment": s.completed,
	})
}

// Address is where the service answers inside the cluster, by the address of its live Service; empty where that has none. A known
// address is taken as it is: a Service keeps it, and a preview can't always tell it.
func (s *Service) Address(known string) pulumi.StringOutput {
	url := func(ip *string) string {
		if ip == nil || net.ParseIP(*ip) == nil {
			return ""
		}
		return fmt.Sprintf("http://%s", net.JoinHostPort(*ip, fmt.Sprint(catalog.HTTPPort)))
	}
	if known := url(&known); known != "" {
		return pulumi.String(known).ToStringOutput()
	}
	return s.live.Spec.ClusterIP().ApplyT(url).(pulumi.StringOutput)
}

func (a Args) serviceSpec(selector pulumi.StringMap) corev1.ServiceSpecArgs {
	return corev1.ServiceSpecArgs{
		Type:     pulumi.String("ClusterIP"),
		Selector: selector,
		Ports: corev1.ServicePortArray{corev1.ServicePortArgs{
			Name:        pulumi.String("http"),
			AppProtocol: pulumi.String("http"),
			Port:        pulumi.Int(catalog.HTTPPort),
			TargetPort:  pulumi.String("http"),
		}},
	}
}

// annotations tell people and tools what is promised of the service.
func (a Args) annotations() pulumi.StringMap {
	promised := a.Service.Objectives
	return pulumi.StringMap{
		// Pulumi would wait 10 s after each change of the endpoints; the Deployment's own readiness says enough.
		"pulumi.com/skipAwait":          pulumi.String("true"),
		"platform.example/availability": pulumi.String(percent(promised.Availability)),
		"platform.example/latency":      pulumi.Sprintf("%s of requests within %s", percent(promised.LatencyShare), promised.Latency),
		"platform.example/on-breach":    pulumi.String(promised.Breach),
	}
}

func percent(share float64) string { return fmt.Sprintf("%.4g%%", share*100) }
