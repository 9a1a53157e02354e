package workload

import (
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/image"
	"platform.example/infra/release"
	"platform.example/infra/stack"
)

// colour is a service in one colour.
type colour struct {
	Args
	Colour  release.Colour
	account *corev1.ServiceAccount
}

// build makes what the colour consists of, each step only after the one before has succeeded: first the schema, then the
// replicas. Completed is known once all of them run.
func (c colour) build(
	ctx *pulumi.Context, parent pulumi.ResourceOption,
) (environment corev1.EnvFromSourceArray, completed pulumi.StringOutput, err error) {
	if environment, err = c.newEnvironment(ctx, parent); err != nil {
		return environment, completed, err
	}
	before := c.stores()
	if c.Service.Database != "" {
		migration, err := c.newJob(ctx, "migrate", c.image().Version, environment, nil, 1, parent, pulumi.DependsOn(before))
		if err != nil {
			return environment, completed, err
		}
		before = append(before, migration)
	}
	if c.Service.KeepsUsers && c.Demo != nil {
		if err := c.newDemoUser(ctx, environment, parent, pulumi.DependsOn(before)); err != nil {
			return environment, completed, err
		}
	}
	if err := c.newService(ctx, parent); err != nil {
		return environment, completed, err
	}
	completed, err = c.newDeployment(ctx, environment, parent, pulumi.DependsOn(before))
	return environment, completed, err
}

// name is what the resources of this colour are called.
func (c colour) name() string { return c.Colour.Name(c.Service.Name) }

// image is what the colour runs.
func (c colour) image() image.Image { return c.Images[c.Colour] }

// candidate reports whether the colour gets the traffic once it is verified.
func (c colour) candidate() bool { return c.Plan.Move == release.Release && c.Colour == c.Plan.Live }

// keeps is an option by which these properties stay what the colour was released with, while the program says something
// else for the other colour. Secrets aren't among them: what is rotated must reach whoever runs.
func (c colour) keeps(properties ...string) pulumi.ResourceOption {
	if c.Colour == c.Plan.Target {
		return pulumi.IgnoreChanges(nil)
	}
	return pulumi.IgnoreChanges(properties)
}

// bounds is between how many replicas the colour is scaled. While the traffic moves, each colour can carry all of it.
func (c colour) bounds() stack.Replicas {
	bounds := c.Config.Services[c.Service.Name].Replicas
	bounds.Min = max(bounds.Min, c.Plan.Replicas)
	bounds.Max = max(bounds.Max, bounds.Min)
	return bounds
}

// selector finds the pods of this colour. A Deployment's selector can't change, hence it says nothing else.
func (c colour) selector() pulumi.StringMap { return c.selecting(pulumi.String(c.Colour)) }

func (a Args) selecting(colour pulumi.StringInput) pulumi.StringMap {
	selector := a.labels()
	selector[release.ColourLabel] = colour
	return selector
}

// newService makes the address of this colour. It has no address of its own but those of its pods, so that whoever verifies
// the colour meets each of them.
func (c colour) newService(ctx *pulumi.Context, opts ...pulumi.ResourceOption) error {
	spec := c.serviceSpec(c.selector())
	spec.ClusterIP = pulumi.String("None")
	metadata := c.metadata(c.name(), c.labels(), c.annotations())
	_, err := corev1.NewService(ctx, c.name(), &corev1.ServiceArgs{Metadata: metadata, Spec: spec}, opts...)
	return err
}

// url is where each of the colour's pods answers.
func (c colour) url() string { return URL(c.Config.NamespacePrefix, c.name()) }

// madeAnnotations say what the Deployment is, for the next plan.
func (c colour) madeAnnotations() map[string]string {
	return map[string]string{release.VersionAnnotation: c.image().Version, release.MadeAnnotation: c.Plan.Made}
}
