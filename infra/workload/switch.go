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

// URL is the URL of a service inside the cluster.
func URL(prefix namespace.Prefix, service string) string {
	return fmt.Sprintf("http://%s:%d", prefix.Host(service, namespace.Apps), catalog.HTTPPort)
}

// Switch creates the live Services, which select the live colours of the plans. All services switch together: no selector changes
// before all candidates are verified and have as many ready endpoints as serve the traffic now. If one of them fails, no service
// switches. Switched and at, the Timestamp of the switch, resolve once they have switched.
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
	// The verifications start once all candidates run, since starting pods keep the nodes busy.
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
	// All services get the same time, since a rollback finds the services that switched together by it.
	at = open.ApplyT(func([]string) string { return release.Timestamp(time.Now()) }).(pulumi.StringOutput)
	var live pulumi.Array
	for _, service := range services {
		selecting, err := service.goLive(ctx, open, at)
		if err != nil {
			return switched, at, fmt.Errorf("service %s: %w", service.args.Service.Name, err)
		}
		live = append(live, selecting.ID(), service.completed)
	}
	return live.ToArrayOutput(), at, nil
}

// goLive creates the live Service. Its annotations hold the mark, so that one request writes mark and selector.
func (s *Service) goLive(ctx *pulumi.Context, open pulumi.StringArrayOutput, at pulumi.StringOutput) (*corev1.Service, error) {
	a, plan := s.args, s.args.Plan
	after := []any{a.Images[plan.Live].Reference}
	if plan.Moves() && !ctx.DryRun() { // a preview shows the new selector without waiting
		after = append(after, open, at)
	}
	// written applies a function to the mark once it is known: the previous mark if --target excludes the release.
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
	s.live, s.image = service, written(func(mark release.Mark) string { return mark.Image })
	return service, ctx.RegisterResourceOutputs(s, pulumi.Map{"deployment": s.completed})
}

// LiveImage is the image that gets the traffic after the update. It resolves once a candidate is verified.
func (s *Service) LiveImage() pulumi.StringOutput { return s.image }

// Address is the URL of the live Service by its ClusterIP, or empty without one. It uses a known address as it is, since a Service
// keeps its address and a preview may not know it.
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

// annotations are the service's objectives.
func (a Args) annotations() pulumi.StringMap {
	promised := a.Service.Objectives
	return pulumi.StringMap{
		// Pulumi would wait 10 s after each change of the endpoints. The Deployment's readiness suffices.
		"pulumi.com/skipAwait":          pulumi.String("true"),
		"platform.example/availability": pulumi.String(percent(promised.Availability)),
		"platform.example/latency":      pulumi.Sprintf("%s of requests within %s", percent(promised.LatencyShare), promised.Latency),
		"platform.example/on-breach":    pulumi.String(promised.Breach),
	}
}

func percent(share float64) string { return fmt.Sprintf("%.4g%%", share*100) }
