package monitoring

import (
	"cmp"
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
	"platform.example/infra/kube"
	"platform.example/infra/namespace"
	"platform.example/infra/quantity"
)

// part is one program of the monitoring in a separate pod.
type part struct {
	name    string // of its objects, of the pods' owner, and of the scrape job
	image   string // in upstream.json
	command []string
	port    int              // of its Service
	ops     int              // of its health and, at /metrics, its metrics; 0 for port
	health  string           // path
	env     pulumi.StringMap // besides GOMEMLIMIT; no secrets
	memory  quantity.Bytes
	cpu     quantity.CPU // limit; the request is 5 % of it

	config   pulumi.StringMap                          // files in /etc/<name>
	places   map[string]string                         // paths of files in subfolders of it
	boards   pulumi.StringMap                          // <name>.json in the same folder; together they are too large for one ConfigMap
	follows  bool                                      // reloads a changed configuration
	secrets  pulumi.StringMap                          // files in /run/secrets/<name>
	scratch  []string                                  // writable folders, empty at each start
	volume   quantity.Bytes                            // size of the volume /var/lib/<name>; 0 for none
	replicas int                                       // of a part with a volume; 0 for one
	gossip   int                                       // port at which the replicas find each other; 0 for none
	rights   rbacv1.PolicyRuleArray                    // permissions in the whole cluster
	inside   map[namespace.Name]rbacv1.PolicyRuleArray // permissions by namespace
	everyone bool                                      // runs on each node
}

func (p part) configFolder() string { return "/etc/" + p.name }
func (p part) secretFolder() string { return "/run/secrets/" + p.name }
func (p part) dataFolder() string   { return "/var/lib/" + p.name }

// host is the DNS name of a part's Service.
func (a Args) host(name string) string {
	return a.Config.NamespacePrefix.Host(name, namespace.Monitoring)
}

// run creates a part's objects, and returns its name once it runs.
func (a Args) run(ctx *pulumi.Context, p part, opts ...pulumi.ResourceOption) (running pulumi.StringInput, err error) {
	home := a.Namespaces[namespace.Monitoring]
	named := metav1.ObjectMetaArgs{Name: pulumi.String(p.name), Namespace: home.Name, Labels: kube.Labels(p.name)}
	account, err := kube.NewAccount(ctx, p.name, named, opts...)
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
	upstream := image.Upstream(p.image, a.Config.Environment, a.Profile.RegistryMirror)
	selector := kube.Labels(p.name)
	service := corev1.ServiceSpecArgs{Selector: selector, Ports: servicePort("http", p.port)}
	if p.replicas > 1 { // with slightly different data
		service.SessionAffinity = pulumi.String("ClientIP")
	}
	if _, err := kube.NewService(ctx, p.name, named, service, opts...); err != nil {
		return nil, err
	}
	pod := kube.Pod(a.Profile, kube.Nobody, account, home.Priority, p.container(upstream, mounts))
	pod.AutomountServiceAccountToken = pulumi.Bool(len(p.rights)+len(p.inside) > 0)
	pod.Volumes = volumes
	if p.everyone {
		pod.Tolerations = corev1.TolerationArray{corev1.TolerationArgs{Operator: pulumi.String("Exists")}}
	}
	if p.replicas > 1 {
		pod.TopologySpreadConstraints = kube.Spread(selector)
		if err := p.join(ctx, named, selector, opts...); err != nil {
			return nil, err
		}
	}
	template := kube.Template(p.name, selector, p.opsPort(), pod)
	running = pulumi.String(p.name)
	opts = append(opts, a.Rollout.Options()...)
	switch {
	case p.everyone:
		_, err = appsv1.NewDaemonSet(ctx, p.name, &appsv1.DaemonSetArgs{Metadata: named, Spec: appsv1.DaemonSetSpecArgs{
			Selector: metav1.LabelSelectorArgs{MatchLabels: selector}, Template: template,
		}}, opts...)
	case p.volume > 0:
		// The volume is deleted with the StatefulSet, since its data can be measured again.
		spec := kube.StatefulSet(pulumi.String(p.name), selector, template, a.Config.StorageClass, p.volume)
		spec.Replicas = pulumi.Int(max(1, p.replicas))
		_, err = appsv1.NewStatefulSet(ctx, p.name, &appsv1.StatefulSetArgs{Metadata: named, Spec: spec}, append(opts, cluster.ClaimTemplatesStay())...)
	default:
		spec := kube.Deployment(a.Rollout, selector, template)
		spec.Replicas = pulumi.Int(1)
		var deployment *appsv1.Deployment
		deployment, err = appsv1.NewDeployment(ctx, p.name, &appsv1.DeploymentArgs{Metadata: named, Spec: spec}, opts...)
		if err == nil {
			running = kube.Completed(ctx, a.Rollout, deployment, nil)
		}
	}
	return running, err
}

// join lets a drain evict one replica at a time, and creates the Service by whose name the replicas find each other.
func (p part) join(ctx *pulumi.Context, named metav1.ObjectMetaArgs, selector pulumi.StringMap, opts ...pulumi.ResourceOption) error {
	if err := kube.Budget(ctx, p.name, named, selector, opts...); err != nil || p.gossip == 0 {
		return err
	}
	named.Name = pulumi.String(p.name + peers)
	_, err := kube.NewService(ctx, p.name+peers, named, corev1.ServiceSpecArgs{
		ClusterIP: pulumi.String("None"), PublishNotReadyAddresses: pulumi.Bool(true), Selector: selector, Ports: servicePort("gossip", p.gossip),
	}, opts...)
	return err
}

// peers is the suffix of that Service.
const peers = "-peers"

func servicePort(name string, port int) corev1.ServicePortArray {
	return corev1.ServicePortArray{corev1.ServicePortArgs{Name: pulumi.String(name), Port: pulumi.Int(port), TargetPort: pulumi.String(name)}}
}

func (p part) opsPort() int { return cmp.Or(p.ops, p.port) }

func (p part) container(upstream string, mounts corev1.VolumeMountArray) corev1.ContainerArgs {
	ports := corev1.ContainerPortArray{kube.Port("http", p.port)}
	if p.opsPort() != p.port {
		ports = append(ports, kube.Port("ops", p.opsPort()))
	}
	env := append(kube.GoLimits(p.memory, "MiB", p.cpu), kube.Variables(p.env)...)
	if p.gossip > 0 {
		ports = append(ports, kube.Port("gossip", p.gossip))
		env = append(env, corev1.EnvVarArgs{Name: pulumi.String("POD_IP"), ValueFrom: corev1.EnvVarSourceArgs{
			FieldRef: corev1.ObjectFieldSelectorArgs{FieldPath: pulumi.String("status.podIP")},
		}})
	}
	probe := func(seconds, failures int) corev1.ProbeArgs {
		return kube.Probe(p.health, pulumi.Int(p.opsPort()), 5, seconds, failures)
	}
	return corev1.ContainerArgs{
		Name:           pulumi.String(p.name),
		Image:          pulumi.String(upstream),
		Command:        pulumi.ToStringArray(p.command),
		Env:            env,
		Ports:          ports,
		Resources:      kube.Resources(p.cpu/20, p.cpu, p.memory),
		StartupProbe:   probe(1, 300), // Prometheus replays its write-ahead log
		ReadinessProbe: probe(5, 3),
		LivenessProbe:  probe(10, 6),
		VolumeMounts:   mounts,
	}
}

// files returns the volumes of a part's configuration, secrets and folders.
func (a Args) files(ctx *pulumi.Context, p part, named metav1.ObjectMetaArgs, opts ...pulumi.ResourceOption) (
	volumes corev1.VolumeArray, mounts corev1.VolumeMountArray, err error,
) {
	mount := func(volume, path string, readOnly bool) {
		mounts = append(mounts, kube.Mount(volume, path, readOnly))
	}
	// A changed file creates an object with a new name, and so a new pod, unless the part reloads its configuration.
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
		volume := kube.ConfigVolume(config)
		if len(p.boards) > 0 {
			volume.ConfigMap = nil
			if volume.Projected, err = p.shelf(ctx, config, content, opts...); err != nil {
				return nil, nil, err
			}
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
		volumes = append(volumes, kube.SecretVolume("secrets", secrets))
		mount("secrets", p.secretFolder(), true)
	}
	for i, folder := range p.scratch {
		volume := fmt.Sprintf("scratch-%d", i)
		volumes = append(volumes, kube.EmptyVolume(volume, 64*quantity.MiB))
		mount(volume, folder, false)
	}
	if p.volume > 0 {
		mount("data", p.dataFolder(), false)
	}
	return volumes, mounts, nil
}

// shelf is a volume with the configuration and the boards.
func (p part) shelf(
	ctx *pulumi.Context, config *corev1.ConfigMap, metadata metav1.ObjectMetaArgs, opts ...pulumi.ResourceOption,
) (corev1.ProjectedVolumeSourceArgs, error) {
	sources := corev1.VolumeProjectionArray{corev1.VolumeProjectionArgs{ConfigMap: corev1.ConfigMapProjectionArgs{
		Name: config.Metadata.Name(), Items: p.items(),
	}}}
	for _, name := range slices.Sorted(maps.Keys(p.boards)) {
		board, err := kube.NewConfig(ctx, p.name+"-"+name, metadata, pulumi.StringMap{name + ".json": p.boards[name]}, opts...)
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
		place := cmp.Or(p.places[file], file)
		items = append(items, corev1.KeyToPathArgs{Key: pulumi.String(file), Path: pulumi.String(place)})
	}
	return items
}

// grant gives a part's account its permissions.
func (a Args) grant(ctx *pulumi.Context, p part, account *corev1.ServiceAccount, opts ...pulumi.ResourceOption) error {
	home := a.Namespaces[namespace.Monitoring].Name
	metadata := metav1.ObjectMetaArgs{Name: pulumi.String(a.Config.NamespacePrefix.ClusterScoped(p.name)), Labels: kube.Labels(p.name)}
	if len(p.rights) > 0 {
		if err := kube.BindCluster(ctx, p.name, metadata, account, home, p.rights, opts...); err != nil {
			return err
		}
	}
	for _, place := range slices.Sorted(maps.Keys(p.inside)) {
		metadata.Namespace = pulumi.String(place)
		if own, found := a.Namespaces[place]; found {
			metadata.Namespace = own.Name
		}
		if _, err := kube.Bind(ctx, p.name+"-"+string(place), metadata, account, home, p.inside[place], opts...); err != nil {
			return err
		}
	}
	return nil
}

// everywhere is these permissions in all of the platform's namespaces.
func everywhere(rights ...rbacv1.PolicyRuleInput) map[namespace.Name]rbacv1.PolicyRuleArray {
	inside := map[namespace.Name]rbacv1.PolicyRuleArray{}
	for _, name := range namespace.All() {
		inside[name] = rights
	}
	return inside
}

// look is the permission to read objects.
func look(group string, objects ...string) rbacv1.PolicyRuleArgs {
	return rbacv1.PolicyRuleArgs{
		ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray(objects),
		Verbs: pulumi.ToStringArray([]string{"get", "list", "watch"}),
	}
}

// only restricts a permission to objects with one name.
func only(name string, permission rbacv1.PolicyRuleArgs) rbacv1.PolicyRuleArgs {
	permission.ResourceNames = pulumi.ToStringArray([]string{name})
	return permission
}
