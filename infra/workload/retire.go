package workload

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/image"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/release"
)

// retireLimit is how long the Job may wait for the end of a release, or for the API server.
const retireLimit = 24 * time.Hour

// Retire creates a Job that retires the standby versions without another update. The Job runs the subcommand retire of the public
// service's image once traffic has moved. Its role allows only the objects of its orders.
func Retire(
	ctx *pulumi.Context, runs image.Image, services []*Service, switched pulumi.ArrayOutput, at pulumi.StringOutput, opts ...pulumi.ResourceOption,
) error {
	a := services[0].args
	labels := kube.Labels(network.Retire)
	metadata := a.metadata(network.Retire, labels)
	account, err := kube.NewAccount(ctx, network.Retire, metadata, opts...)
	if err != nil {
		return err
	}
	var names, colours []string
	for _, service := range services {
		name := service.args.Service.Name
		names, colours = append(names, name), append(colours, release.Blue.Name(name), release.Green.Name(name))
	}
	bound, err := kube.Bind(ctx, network.Retire, metadata, account, a.Namespace.Name, rbacv1.PolicyRuleArray{
		may("patch", "", "services", names...),
		may("patch", "apps", "deployments", colours...),
		may("patch", "autoscaling", "horizontalpodautoscalers", colours...),
		may("get", "coordination.k8s.io", "leases", release.Lease),
	}, opts...)
	standing := runs.Version
	for _, service := range services {
		if plan := service.args.Plan; plan.Mark.Standby != (release.Former{}) {
			standing += fmt.Sprintln(service.args.Service.Name, plan.Made, plan.Mark.Standby, a.Config.Standby)
		}
	}
	if err != nil || standing == runs.Version || runs.Version == "" {
		return err
	}
	orders := pulumi.All(a.Namespace.Name, at, switched).ApplyT(func(known []any) (string, error) {
		text, err := json.Marshal(retireOrders(services, known[0].(string), release.ReadTimestamp(known[1].(string))))
		return string(text), err
	}).(pulumi.StringOutput)
	// Other standby versions get another Job.
	name := fmt.Sprintf("%s-%x", network.Retire, sha256.Sum256([]byte(standing)))[:len(network.Retire)+9]
	_, err = batchv1.NewJob(ctx, network.Retire, &batchv1.JobArgs{
		Metadata: a.metadata(name, labels, pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")}),
		Spec: batchv1.JobSpecArgs{
			BackoffLimit:          pulumi.Int(10), // for drained nodes
			ActiveDeadlineSeconds: pulumi.Int(int((a.Config.Standby + retireLimit).Seconds())),
			Template: command{
				name: network.Retire, command: "retire", image: runs.Reference, account: account, priority: a.Namespace.Priority,
				env: corev1.EnvVarArray{kube.Variable("RETIREMENTS", orders)},
			}.template(a.Config, a.Profile),
		},
	}, append(opts, pulumi.DependsOn([]pulumi.Resource{bound}))...)
	return err
}

// retireOrders returns the orders of the Job. At is the time of the update's switch.
func retireOrders(services []*Service, namespace string, at time.Time) release.Orders {
	orders := release.Orders{Lease: release.Path("Lease", namespace, release.Lease)}
	for _, service := range services {
		plan, name := service.args.Plan, service.args.Service.Name
		if plan.Moves() {
			plan.Mark.At = at
		}
		bounds := service.args.Config.Services[name].Replicas
		order := plan.Retirement(name, namespace, service.args.Config.Standby, release.Bounds{Min: bounds.Min, Max: bounds.Max})
		if !order.At.IsZero() {
			orders.Services = append(orders.Services, order)
		}
	}
	return orders
}
