package workload

import (
	"cmp"
	"fmt"
	"slices"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/catalog"
	"platform.example/infra/image"
	"platform.example/infra/kube"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// colour is a service in one colour.
type colour struct {
	Args
	Colour  release.Colour
	account *corev1.ServiceAccount
}

// build creates the resources of the colour, the schema before the replicas. Versions with the same migrations share one Job, so a release
// without new migrations runs none. Migrations has these Jobs by schema. Completed resolves once the rollout is complete.
func (c colour) build(
	ctx *pulumi.Context, migrations map[string]pulumi.Resource, parent pulumi.ResourceOption,
) (environment corev1.EnvFromSourceArray, completed pulumi.StringOutput, err error) {
	if environment, err = c.newEnvironment(ctx, parent); err != nil {
		return environment, completed, err
	}
	before := slices.Concat(c.Postgres.Ready, c.Cache.Ready, c.Stream.Ready)
	if c.Service.Database != "" {
		schema := cmp.Or(c.image().Schema, c.image().Version)
		if migrations[schema] == nil {
			resource := c.Service.Name + "-migrate-" + schema
			if restored := c.Config.Postgres.Cluster; restored > 1 { // its tables may be older
				resource = fmt.Sprintf("%s-%d", resource, restored)
			}
			// Images of earlier versions don't turn off the timeout of statements that the role has.
			session := corev1.EnvVarArray{kube.Variable("PGOPTIONS", pulumi.String("-c statement_timeout=0"))}
			if c.Postgres.Direct != "" { // it locks for a session
				session = append(session, kube.Variable("POSTGRES_HOST", pulumi.String(c.Postgres.Direct)))
			}
			migrations[schema], err = c.newJob(ctx, resource, c.Service.Name, "migrate", schema, environment, session, 1, parent, pulumi.DependsOn(before), ranOnce)
			if err != nil {
				return environment, completed, err
			}
		}
		before = append(before, migrations[schema])
	}
	if c.Service.KeepsUsers && c.Demo != nil {
		if err := c.newDemoUser(ctx, environment, parent, pulumi.DependsOn(before)); err != nil {
			return environment, completed, err
		}
	}
	// The headless Service's name resolves to all pods, so the verification reaches each of them.
	spec := c.serviceSpec(c.selector())
	spec.ClusterIP = pulumi.String("None")
	metadata := c.metadata(c.name(), c.labels(), c.annotations())
	if _, err := corev1.NewService(ctx, c.name(), &corev1.ServiceArgs{Metadata: metadata, Spec: spec}, parent); err != nil {
		return environment, completed, err
	}
	completed, err = c.newDeployment(ctx, environment, parent, pulumi.DependsOn(before))
	return environment, completed, err
}

func (c colour) name() string { return c.Colour.Name(c.Service.Name) }

func (c colour) image() image.Image { return c.Images[c.Colour] }

// candidate reports whether the colour is new and gets traffic once it is verified.
func (c colour) candidate() bool { return c.Plan.Move == release.Release && c.Colour == c.Plan.Live }

// keeps is an option that keeps these properties as the colour was released, unless the colour is the plan's target. It isn't for
// secrets: a rotated secret must reach both colours.
func (c colour) keeps(properties ...string) pulumi.ResourceOption {
	if c.Colour == c.Plan.Target {
		return pulumi.IgnoreChanges(nil)
	}
	return pulumi.IgnoreChanges(properties)
}

// bounds are the autoscaler's bounds. While traffic moves, each colour has enough replicas for all of it.
func (c colour) bounds() stack.Replicas {
	bounds := c.Config.Services[c.Service.Name].Replicas
	bounds.Min = max(bounds.Min, c.Plan.Replicas)
	bounds.Max = max(bounds.Max, bounds.Min)
	return bounds
}

// selector selects the pods of this colour. It has no other labels, because a Deployment's selector is immutable.
func (c colour) selector() pulumi.StringMap { return c.selecting(pulumi.String(c.Colour)) }

func (a Args) selecting(colour pulumi.StringInput) pulumi.StringMap {
	selector := a.labels()
	selector[release.ColourLabel] = colour
	return selector
}

// madeAnnotations are the annotations that the next plan reads.
func (c colour) madeAnnotations() map[string]string {
	annotations := map[string]string{release.VersionAnnotation: c.image().Version, release.MadeAnnotation: c.Plan.Made}
	if schema := c.image().Schema; schema != "" {
		annotations[release.SchemaAnnotation] = schema
	}
	return annotations
}

// newDeployment creates the Deployment of this colour and its autoscaler. Completed resolves once the rollout is complete.
func (c colour) newDeployment(
	ctx *pulumi.Context, environment corev1.EnvFromSourceArray, parent, after pulumi.ResourceOption,
) (completed pulumi.StringOutput, err error) {
	pod := c.pod(c.server(environment))
	pod.TopologySpreadConstraints = kube.Spread(c.selector())
	metadata := c.metadata(c.name(), c.selector(), pulumi.ToStringMap(c.madeAnnotations()))
	spec := kube.Deployment(c.Rollout, c.selector(), kube.Template(c.Service.Name, c.selector(), catalog.OpsPort, pod))
	replicas := pulumi.IgnoreChanges([]string{"spec.replicas"})
	if c.candidate() { // the autoscaler would take up to 15 s, and ignores a retired Deployment with 0 replicas
		spec.Replicas, replicas = pulumi.Int(c.bounds().Min), pulumi.IgnoreChanges(nil)
	}
	deployment, err := appsv1.NewDeployment(ctx, c.name(), &appsv1.DeploymentArgs{Metadata: metadata, Spec: spec},
		append(c.Rollout.Options(), parent, after, c.keeps(kept...), replicas)...)
	if err != nil {
		return completed, err
	}
	scaled := []pulumi.ResourceOption{parent}
	if c.Colour != c.Plan.Live && !c.Plan.Moves() { // the standby keeps its size
		scaled = append(scaled, pulumi.IgnoreChanges([]string{"spec", annotation(release.ReplicasAnnotation)}))
	}
	var annotations map[string]string
	if c.candidate() {
		annotations = c.madeAnnotations()
	}
	bounds := c.bounds()
	scaler := c.metadata(c.name(), c.selector(), pulumi.StringMap{
		release.ReplicasAnnotation: pulumi.String(release.Bounds{Min: bounds.Min, Max: bounds.Max}.With(c.Plan.Made)),
	})
	completed = kube.Completed(ctx, c.Rollout, deployment, annotations)
	return completed, kube.Scale(ctx, c.name(), scaler, c.selector(), c.Config, bounds, scaled...)
}

// annotation is the property path of an annotation.
func annotation(name string) string { return `metadata.annotations["` + name + `"]` }

// kept are the properties that a Deployment keeps if it isn't the plan's target: all of its container except for the Secret.
var kept = []string{
	annotation(release.VersionAnnotation),
	annotation(release.MadeAnnotation),
	annotation(release.SchemaAnnotation),
	"spec.template.spec.containers[0].image",
	"spec.template.spec.containers[0].env",
	"spec.template.spec.containers[0].resources",
	"spec.template.spec.containers[0].startupProbe",
	"spec.template.spec.containers[0].readinessProbe",
	"spec.template.spec.containers[0].livenessProbe",
}
