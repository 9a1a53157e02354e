package monitoring

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
	"platform.example/infra/image"
	"platform.example/infra/namespace"
	"platform.example/infra/network"
	"platform.example/infra/quantity"
	"platform.example/infra/resources"
	"platform.example/infra/restricted"
)

// part is one program of monitoring in a pod of its own.
type part struct {
	name    string // of its objects, of the pods' owner, and of what Prometheus calls the job
	image   string // in upstream.json
	command []string
	port    int              // where others call it
	ops     int              // where its health and, under /metrics, its metrics are; 0 for port
	health  string           // path
	env     pulumi.StringMap // beside GOMEMLIMIT; no secrets
	memory  quantity.Bytes
	cpu     quantity.CPU // limit; a tenth of it is asked for

	config   pulumi.StringMap                          // files in /etc/<name>
	places   map[string]string                         // of files that are further down in it
	boards   pulumi.StringMap                          // <name>.json beside them, each an object of its own: all of them are too large for one
	follows  bool                                      // reads its configuration again by itself when it changes
	secrets  pulumi.StringMap                          // files in /run/secrets/<name>
	scratch  []string                                  // folders that it writes to, empty at each start
	volume   quantity.Bytes                            // of /var/lib/<name>, which outlives it; 0 for none
	rights   rbacv1.PolicyRuleArray                    // on the whole cluster
	inside   map[namespace.Name]rbacv1.PolicyRuleArray // in single namespaces
	everyone bool                                      // one on each node
}

// user is nobody in particular; the folders of a pod's volumes belong to its group.
const user = 65532

func (p part) selector() pulumi.StringMap {
	return pulumi.StringMap{"app.kubernetes.io/name": pulumi.String(p.name)}
}

func (p part) configFolder() string { return "/etc/" + p.name }
func (p part) secretFolder() string { return "/run/secrets/" + p.name }
func (p part) dataFolder() string   { return "/var/lib/" + p.name }

// host is where the others find a part.
func (a Args) host(name string) string {
	return a.Config.NamespacePrefix.Host(name, namespace.Monitoring)
}

// run makes a part's objects, and returns its name once it runs.
func (a Args) run(ctx *pulumi.Context, p part, opts ...pulumi.ResourceOption) (running pulumi.StringInput, err error) {
	home := a.Namespaces[namespace.Monitoring]
	named := metav1.ObjectMetaArgs{Name: pulumi.String(p.name), Namespace: home.Name, Labels: p.selector()}
	account, err := corev1.NewServiceAccount(ctx, p.name, &corev1.ServiceAccountArgs{
		Metadata: named, AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
	if err != nil {
		return nil, err
	}
	if err := a.grant(ctx, p, account, opts...); err != nil {
		return nil, err
	}
	volumes, mounts, err := a.files(ctx, p, named, opts...)
	if err != nil {
		return nil, err
	}
	upstream, err := image.Upstream(p.image, a.Config.Environment, a.Profile.RegistryMirror)
	if err != nil {
		return nil, err
	}
	service := named
	service.Annotations = pulumi.StringMap{"pulumi.com/skipAwait": pulumi.String("true")} // the pods are waited for
	_, err = corev1.NewService(ctx, p.name, &corev1.ServiceArgs{Metadata: service, Spec: corev1.ServiceSpecArgs{
		Selector: p.selector(), Ports: p.servicePorts(),
	}}, opts...)
	if err != nil {
		return nil, err
	}
	pod := corev1.PodSpecArgs{
		ServiceAccountName:           account.Metadata.Name(),
		AutomountServiceAccountToken: pulumi.Bool(len(p.rights)+len(p.inside) > 0),
		EnableServiceLinks:           pulumi.Bool(false),
		PriorityClassName:            home.Priority,
		Containers:                   corev1.ContainerArray{p.container(upstream, mounts)},
		Volumes:                      volumes,
	}
	if p.everyone {
		pod.Tolerations = corev1.TolerationArray{corev1.TolerationArgs{Operator: pulumi.String("Exists")}}
	}
	pod = restricted.Pod(a.Profile, user, pod)
	template := corev1.PodTemplateSpecArgs{
		Metadata: metav1.ObjectMetaArgs{
			Labels: pulumi.StringMap{
				"app.kubernetes.io/name": pulumi.String(p.name),
				network.Label:            pulumi.String(p.name),
			},
			Annotations: pulumi.StringMap{
				"prometheus.io/scrape": pulumi.String("true"),
				"prometheus.io/port":   pulumi.String(fmt.Sprint(p.opsPort())),
				"prometheus.io/path":   pulumi.String("/metrics"),
			},
		},
		Spec: pod,
	}
	running = pulumi.String(p.name)
	selector := metav1.LabelSelectorArgs{MatchLabels: p.selector()}
	opts = append(opts, a.Rollout.Options()...)
	switch {
	case p.everyone:
		_, err = appsv1.NewDaemonSet(ctx, p.name, &appsv1.DaemonSetArgs{Metadata: named, Spec: appsv1.DaemonSetSpecArgs{
			Selector: selector, Template: template,
		}}, opts...)
	case p.volume > 0:
		_, err = appsv1.NewStatefulSet(ctx, p.name, &appsv1.StatefulSetArgs{Metadata: named, Spec: appsv1.StatefulSetSpecArgs{
			Replicas: pulumi.Int(1), ServiceName: pulumi.String(p.name), Selector: selector, Template: template,
			VolumeClaimTemplates: a.claim(p),
		}}, append(opts, cluster.ClaimTemplatesStay())...)
	default:
		var deployment *appsv1.Deployment
		deployment, err = appsv1.NewDeployment(ctx, p.name, &appsv1.DeploymentArgs{Metadata: named, Spec: appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1), RevisionHistoryLimit: pulumi.Int(cluster.FormerReplicaSets), Selector: selector, Template: template,
			ProgressDeadlineSeconds: pulumi.Int(a.Rollout.Seconds()),
			Strategy: appsv1.DeploymentStrategyArgs{
				Type:          pulumi.String("RollingUpdate"),
				RollingUpdate: appsv1.RollingUpdateDeploymentArgs{MaxSurge: pulumi.Int(1), MaxUnavailable: pulumi.Int(0)},
			},
		}}, opts...)
		if err == nil {
			running = a.Rollout.Completed(ctx, deployment, nil)
		}
	}
	return running, err
}

func (p part) opsPort() int {
	if p.ops != 0 {
		return p.ops
	}
	return p.port
}

func (p part) servicePorts() corev1.ServicePortArray {
	return corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String("http"), Port: pulumi.Int(p.port), TargetPort: pulumi.String("http")}}
}

func (p part) container(upstream string, mounts corev1.VolumeMountArray) corev1.ContainerArgs {
	env := corev1.EnvVarArray{
		corev1.EnvVarArgs{Name: pulumi.String("GOMEMLIMIT"), Value: pulumi.String(fmt.Sprintf("%dMiB", int(p.memory)*9/10))},
		corev1.EnvVarArgs{Name: pulumi.String("GOMAXPROCS"), Value: pulumi.String(fmt.Sprint(p.cpu.Cores()))},
	}
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		env = append(env, corev1.EnvVarArgs{Name: pulumi.String(name), Value: p.env[name]})
	}
	ports := corev1.ContainerPortArray{corev1.ContainerPortArgs{Name: pulumi.String("http"), ContainerPort: pulumi.Int(p.port)}}
	if p.opsPort() != p.port {
		ports = append(ports, corev1.ContainerPortArgs{Name: pulumi.String("ops"), ContainerPort: pulumi.Int(p.opsPort())})
	}
	probe := func(seconds, failures int) corev1.ProbeArgs {
		return corev1.ProbeArgs{
			HttpGet:       corev1.HTTPGetActionArgs{Path: pulumi.String(p.health), Port: pulumi.Int(p.opsPort())},
			PeriodSeconds: pulumi.Int(seconds), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(failures),
		}
	}
	return corev1.ContainerArgs{
		Name:            pulumi.String(p.name),
		Image:           pulumi.String(upstream),
		Command:         pulumi.ToStringArray(p.command),
		Env:             env,
		Ports:           ports,
		Resources:       resources.New(p.cpu/20, p.cpu, p.memory),
		SecurityContext: restricted.Container(),
		StartupProbe:    probe(1, 300), // Prometheus reads its log of what isn't on disk yet
		ReadinessProbe:  probe(5, 3),
		LivenessProbe:   probe(10, 6),
		VolumeMounts:    mounts,
	}
}

// files is a part's configuration, secrets and folders, as volumes.
func (a Args) files(ctx *pulumi.Context, p part, named metav1.ObjectMetaArgs, opts ...pulumi.ResourceOption) (
	volumes corev1.VolumeArray, mounts corev1.VolumeMountArray, err error,
) {
	mount := func(volume, path string, readOnly bool) {
		mounts = append(mounts, corev1.VolumeMountArgs{
			Name: pulumi.String(volume), MountPath: pulumi.String(path), ReadOnly: pulumi.Bool(readOnly),
		})
	}
	// A changed file is a new object with a new name, and so a new pod; what follows changes keeps its objects' names.
	content := metav1.ObjectMetaArgs{Namespace: named.Namespace, Labels: named.Labels}
	if p.follows {
		content = named
	}
	if len(p.config) > 0 {
		config, err := corev1.NewConfigMap(ctx, p.name, &corev1.ConfigMapArgs{
			Metadata: content, Immutable: pulumi.Bool(!p.follows), Data: p.config,
		}, opts...)
		if err != nil {
			return nil, nil, err
		}
		volume := corev1.VolumeArgs{Name: pulumi.String("config")}
		if len(p.boards) == 0 {
			volume.ConfigMap = corev1.ConfigMapVolumeSourceArgs{Name: config.Metadata.Name()}
		} else if volume.Projected, err = p.shelf(ctx, config, content, opts...); err != nil {
			return nil, nil, err
		}
		volumes = append(volumes, volume)
		mount("config", p.configFolder(), true)
	}
	if len(p.secrets) > 0 {
		secrets, err := corev1.NewSecret(ctx, p.name, &corev1.SecretArgs{
			Metadata: content, Immutable: pulumi.Bool(!p.follows), StringData: p.secrets,
		}, opts...)
		if err != nil {
			return nil, nil, err
		}
		volumes = append(volumes, corev1.VolumeArgs{Name: pulumi.String("secrets"), Secret: corev1.SecretVolumeSourceArgs{
			SecretName: secrets.Metadata.Name(), DefaultMode: pulumi.Int(0o440),
		}})
		mount("secrets", p.secretFolder(), true)
	}
	for i, folder := range p.scratch {
		volume := fmt.Sprintf("scratch-%d", i)
		volumes = append(volumes, corev1.VolumeArgs{Name: pulumi.String(volume), EmptyDir: corev1.EmptyDirVolumeSourceArgs{
			SizeLimit: pulumi.String("64Mi"),
		}})
		mount(volume, folder, false)
	}
	if p.volume > 0 {
		mount("data", p.dataFolder(), false)
	}
	return volumes, mounts, nil
}

// shelf is a volume of the configuration and the boards beside it.
func (p part) shelf(
	ctx *pulumi.Context, config *corev1.ConfigMap, metadata metav1.ObjectMetaArgs, opts ...pulumi.ResourceOption,
) (corev1.ProjectedVolumeSourceArgs, error) {
	sources := corev1.VolumeProjectionArray{corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{
		Name: config.Metadata.Name(), Items: p.items(),
	}}}
	for _, name := range slices.Sorted(maps.Keys(p.boards)) {
		board, err := corev1.NewConfigMap(ctx, p.name+"-"+name, &corev1.ConfigMapArgs{
			Metadata: metadata, Immutable: pulumi.Bool(true), Data: pulumi.StringMap{name + ".json": p.boards[name]},
		}, opts...)
		if err != nil {
			return corev1.ProjectedVolumeSourceArgs{}, err
		}
		sources = append(sources, corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{Name: board.Metadata.Name()}})
	}
	return corev1.ProjectedVolumeSourceArgs{Sources: sources}, nil
}

func (p part) items() corev1.KeyToPathArray {
	var items corev1.KeyToPathArray
	for _, file := range slices.Sorted(maps.Keys(p.config)) {
		place := file
		if further, ok := p.places[file]; ok {
			place = further
		}
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(place)})
	}
	return items
}

// claim is a part's volume. What was measured goes with the StatefulSet: it can be measured again.
func (a Args) claim(p part) corev1.PersistentVolumeClaimTypeArray {
	claim := corev1.PersistentVolumeClaimSpecArgs{
		AccessModes: pulumi.ToStringArray([]string{"ReadWriteOnce"}),
		Resources:   corev1.VolumeResourceRequirementsArgs{Requests: pulumi.StringMap{"storage": pulumi.String(p.volume.String())}},
	}
	if a.Config.StorageClass != "" {
		claim.StorageClassName = pulumi.String(a.Config.StorageClass)
	}
	return corev1.PersistentVolumeClaimTypeArray{corev1.PersistentVolumeClaimTypeArgs{
		Metadata: metav1.ObjectMetaArgs{Name: pulumi.String("data")}, Spec: claim,
	}}
}

// grant lets a part's account look at what it has to.
func (a Args) grant(ctx *pulumi.Context, p part, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption) error {
	subjects := rbacv1.SubjectArray{rbacv1.SubjectArgs{
		Kind: pulumi.String("ServiceAccount"), Name: account.Metadata.Name().Elem(), Namespace: a.Namespaces[namespace.Monitoring].Name,
	}}
	metadata := metav1.ObjectMetaArgs{Name: pulumi.String(a.Config.NamespacePrefix.ClusterScoped(p.name)), Labels: p.selector()}
	reference := rbacv1.RoleRefArgs{ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("ClusterRole")}
	if len(p.rights) > 0 {
		role, err := rbacv1.NewClusterRole(ctx, p.name, &rbacv1.ClusterRoleArgs{Metadata: metadata, Rules: p.rights}, opts...)
		if err != nil {
			return err
		}
		reference.Name = role.Metadata.Name().Elem()
		_, err = rbacv1.NewClusterRoleBinding(ctx, p.name, &rbacv1.ClusterRoleBindingArgs{
			Metadata: metadata, RoleRef: reference, Subjects: subjects,
		}, opts...)
		if err != nil {
			return err
		}
	}
	reference.Kind = pulumi.String("Role")
	for _, place := range slices.Sorted(maps.Keys(p.inside)) {
		name := p.name + "-" + string(place)
		metadata.Namespace = pulumi.String(place)
		if own, is := a.Namespaces[place]; is {
			metadata.Namespace = own.Name
		}
		role, err := rbacv1.NewRole(ctx, name, &rbacv1.RoleArgs{Metadata: metadata, Rules: p.inside[place]}, opts...)
		if err != nil {
			return err
		}
		reference.Name = role.Metadata.Name().Elem()
		_, err = rbacv1.NewRoleBinding(ctx, name, &rbacv1.RoleBindingArgs{Metadata: metadata, RoleRef: reference, Subjects: subjects}, opts...)
		if err != nil {
			return err
		}
	}
	return nil
}

// everywhere is these rights in each of the platform's namespaces.
func everywhere(rights ...rbacv1.PolicyRuleInput) map[namespace.Name]rbacv1.PolicyRuleArray {
	inside := map[namespace.Name]rbacv1.PolicyRuleArray{}
	for _, name := range namespace.All() {
		inside[name] = rights
	}
	return inside
}

// look is the right to read objects.
func look(group string, objects ...string) rbacv1.PolicyRuleArgs {
	return rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray(objects),
		Verbs: pulumi.ToStringArray([]string{"get", "list", "watch"}),
	}
}

// only narrows a right to the objects of one name.
func only(name string, right rbacv1.PolicyRuleArgs) rbacv1.PolicyRuleArgs {
	right.ResourceNames = pulumi.ToStringArray([]string{name})
	return right
}
