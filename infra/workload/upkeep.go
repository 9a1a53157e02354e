package workload

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/image"
	"platform.example/infra/isolation"
	"platform.example/infra/kube"
	"platform.example/infra/network"
	"platform.example/infra/profile"
	"platform.example/infra/release"
	"platform.example/infra/stack"
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
	standing := runs.Version
	for _, service := range services {
		name, plan := service.args.Service.Name, service.args.Plan
		names, colours = append(names, name), append(colours, release.Blue.Name(name), release.Green.Name(name))
		if plan.Mark.Standby != (release.Former{}) {
			standing += fmt.Sprintln(name, plan.Made, plan.Mark.Standby, a.Config.Standby)
		}
	}
	bound, err := kube.Bind(ctx, network.Retire, metadata, account, a.Namespace.Name, rbacv1.PolicyRuleArray{
		may("patch", "", "services", names...),
		may("patch", "apps", "deployments", colours...),
		may("patch", "autoscaling", "horizontalpodautoscalers", colours...),
		may("get", "coordination.k8s.io", "leases", release.Lease),
	}, opts...)
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

// RenewArgs describes the CronJob that renews certificates of the stack's own authority.
type RenewArgs struct {
	Namespace    *isolation.Namespace // of the CronJob
	Priority     pulumi.StringInput   // the PriorityClass of its pods
	Config       stack.Stack
	Profile      profile.Profile
	Image        pulumi.StringInput // of the public service, live
	Authority    pulumi.StringInput // certificates and keys in PEM; the first one signs
	Certificates []Certificate
}

// Certificate is a server's certificate in a Secret.
type Certificate struct {
	Namespace *isolation.Namespace `json:"-"`
	Secret    string               `json:"-"`
	Path      string               `json:"path"` // of the Secret on the API server
	Hosts     []string             `json:"hosts"`
}

// Renew creates a CronJob that renews each certificate in the last third of its validity. Its role allows only these Secrets.
func Renew(ctx *pulumi.Context, args RenewArgs, opts ...pulumi.ResourceOption) error {
	const name, folder, file = network.Certificates, "/run/secrets/authority", "authority.pem"
	labels := kube.Labels(name)
	in := func(namespace *isolation.Namespace) metav1.ObjectMetaArgs {
		return metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: namespace.Name, Labels: labels}
	}
	account, err := kube.NewAccount(ctx, name, in(args.Namespace), opts...)
	if err != nil {
		return err
	}
	secrets := map[*isolation.Namespace][]string{}
	for _, certificate := range args.Certificates {
		secrets[certificate.Namespace] = append(secrets[certificate.Namespace], certificate.Secret)
	}
	for namespace, names := range secrets {
		resource := name
		if namespace != args.Namespace {
			resource += "-" + names[0]
		}
		rules := rbacv1.PolicyRuleArray{may("get", "", "secrets", names...), may("patch", "", "secrets", names...)}
		if _, err := kube.Bind(ctx, resource, in(namespace), account, args.Namespace.Name, rules, opts...); err != nil {
			return err
		}
	}
	authority, err := corev1.NewSecret(ctx, name, &corev1.SecretArgs{
		Metadata: in(args.Namespace), StringData: pulumi.StringMap{file: args.Authority},
	}, opts...)
	if err != nil {
		return err
	}
	orders, _ := json.Marshal(map[string]any{ // plain values always encode
		"durationSeconds": int(args.Config.CertificateDuration.Seconds()), "certificates": args.Certificates,
	})
	schedule := "17 * * * *"
	if args.Config.CertificateDuration < 24*time.Hour {
		schedule = "* * * * *"
	}
	_, err = batchv1.NewCronJob(ctx, name, &batchv1.CronJobArgs{
		Metadata: in(args.Namespace),
		Spec: batchv1.CronJobSpecArgs{
			Schedule:                   pulumi.String(schedule),
			ConcurrencyPolicy:          pulumi.String("Forbid"),
			StartingDeadlineSeconds:    pulumi.Int(1800), // a missed run starts late
			SuccessfulJobsHistoryLimit: pulumi.Int(1),
			FailedJobsHistoryLimit:     pulumi.Int(1),
			JobTemplate: batchv1.JobTemplateSpecArgs{
				Metadata: metav1.ObjectMetaArgs{Labels: labels},
				Spec: batchv1.JobSpecArgs{
					BackoffLimit:            pulumi.Int(3),
					ActiveDeadlineSeconds:   pulumi.Int(300),
					TtlSecondsAfterFinished: pulumi.Int(3600), // a failure alerts until the next run
					Template: command{
						name: name, command: "renew", image: args.Image, account: account, priority: args.Priority,
						env: corev1.EnvVarArray{
							kube.Variable("CERTIFICATES", pulumi.String(orders)),
							kube.Variable("AUTHORITY_FILE", pulumi.String(folder+"/"+file)),
						},
						mounts:  corev1.VolumeMountArray{kube.Mount("authority", folder, true)},
						volumes: corev1.VolumeArray{kube.SecretVolume("authority", authority)},
					}.template(args.Config, args.Profile),
				},
			},
		},
	}, opts...)
	return err
}
