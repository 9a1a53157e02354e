package stack

import (
	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// settings is every key of the namespace, bound to the field that it sets.
func (s *Stack) settings(services []catalog.Service) []setting {
	settings := []setting{
		{
			path: "environment", optional: true, want: wantEnvironment, // that of the same name as the stack, if any
			read: into(&s.Environment, oneOf(Local, Staging, Production)),
		},
		{
			path: "promotesFrom", optional: true, want: "the name of another stack",
			defaults: defaults{production: string(Staging)},
			read:     into(&s.PromotesFrom, stackName),
		},
		{
			path: "registry", optional: true, want: wantRegistry,
			read: into(&s.Registry, registryAddress),
		},
		{
			path: "build", want: "true or false",
			defaults: defaults{local: "true", staging: "true", production: "false"},
			read:     into(&s.Build, boolean),
		},
		{
			path: "kubeconfig", optional: true, want: "the path of a kubeconfig file",
			read: into(&s.Kubeconfig, filled),
		},
		{
			path: "kubeContext", optional: true, want: "the name of a context of the kubeconfig",
			read: into(&s.KubeContext, filled),
		},
		{
			path: "namespacePrefix", optional: true, want: "what comes before the names of the stack's namespaces, such as shop-: " +
				"up to 20 lower case letters, digits and hyphens, beginning with a letter and ending with a hyphen",
			read: into(&s.NamespacePrefix, namespacePrefix),
		},
		{
			path: "storageClass", optional: true, want: "the name of a StorageClass",
			read: into(&s.StorageClass, filled),
		},
		{
			path: "demo", want: "true or false",
			defaults: defaults{local: "true", staging: "false", production: "false"},
			read:     into(&s.Demo, boolean),
		},
		{
			path: "deadline", want: "how long a rollout may take, from 30s to 30m",
			defaults: defaults{local: "2m", staging: "5m", production: "5m"},
			read:     into(&s.Deadline, deadline),
		},
		{
			path: "cpuRequests", want: "the share of their CPU requests that pods ask for, in percent, from 10 to 100",
			// One machine has fewer cores than a cluster, and both colours of all services must find room on it.
			defaults: defaults{local: "40", staging: "100", production: "100"},
			read:     into(&s.CPURequests, between(10, 100)),
		},
		{
			path: "standby", want: wantStandby,
			defaults: defaults{local: "30m", staging: "1h", production: "1h"},
			read:     into(&s.Standby, standby),
		},
		{
			path: "certificateDuration", want: "how long certificates of the stack's own authority last, from 10m to 19800h (825 days)",
			// No client refuses a server's certificate that lasts no longer than 825 days (CA/Browser Forum, before 2020).
			defaults: defaults{local: "2160h", staging: "2160h", production: "2160h"},
			read:     into(&s.CertificateDuration, certificateDuration),
		},
		{
			path: "protectData", want: "true or false",
			defaults: defaults{local: "false", staging: "true", production: "true"},
			read:     into(&s.ProtectData, boolean),
		},
		{
			path: "replicas.min", want: wantReplicas,
			defaults: defaults{local: "1", staging: "2", production: "3"},
			read:     into(&s.Replicas.Min, between(1, 100)),
		},
		{
			path: "replicas.max", want: wantReplicas,
			defaults: defaults{local: "2", staging: "6", production: "20"},
			read:     into(&s.Replicas.Max, between(1, 100)),
		},
	}
	settings = append(settings, s.Edge.settings()...)
	settings = append(settings, s.Postgres.settings()...)
	settings = append(settings, s.Redis.settings()...)
	settings = append(settings, s.Stream.settings()...)
	settings = append(settings, s.Monitoring.settings()...)
	settings = append(settings, s.Cluster.settings()...)
	for _, service := range services {
		settings = append(settings, s.ofService(service)...)
	}
	return settings
}

const wantEnvironment = "one of local, staging, production"

const wantStandby = "how long a former version stands by after a release, from 0s to 24h"

const wantReplicas = "a whole number from 1 to 100"

func (e *Edge) settings() []setting {
	return []setting{
		{
			path: "edge.host", optional: true, want: "a DNS name such as api.example.com",
			defaults: defaults{local: "localhost"},
			read:     into(&e.Host, hostName),
		},
		{
			path: "edge.type", want: "one of ClusterIP, NodePort, LoadBalancer",
			defaults: defaults{local: "NodePort", staging: "LoadBalancer", production: "LoadBalancer"},
			read:     into(&e.Type, oneOf(ClusterIP, NodePort, LoadBalancer)),
		},
		{
			path: "edge.httpPort", optional: true, want: wantNodePort,
			defaults: defaults{local: "30080"},
			read:     into(&e.HTTPPort, between(30000, 32767)),
		},
		{
			path: "edge.httpsPort", optional: true, want: wantNodePort,
			defaults: defaults{local: "30443"},
			read:     into(&e.HTTPSPort, between(30000, 32767)),
		},
		{
			path: "edge.tlsSecret", optional: true, want: "the name of a Secret",
			read: into(&e.TLSSecret, objectName),
		},
		{
			path: "edge.issuer", optional: true, want: "the name of a ClusterIssuer of cert-manager",
			read: into(&e.Issuer, objectName),
		},
		{
			path: "edge.trustedProxies", optional: true, want: wantNetworks,
			read: into(&e.TrustedProxies, listOf(network)),
		},
		{
			path: "edge.requestsPerSecond", want: "a whole number from 1 to 1000000",
			defaults: defaults{local: "2000", staging: "100", production: "100"},
			read:     into(&e.RequestsPerSecond, between(1, 1_000_000)),
		},
		optional("edge.loadBalancerClass", "the class of a load balancer, such as service.k8s.aws/nlb", &e.LoadBalancerClass, filled),
		{path: "edge.annotations", optional: true, want: "annotations of the edge's Service, as an object", entries: &e.Annotations},
		optional("edge.sourceRanges", wantNetworks, &e.SourceRanges, listOf(network)),
		optional("edge.proxyProtocol", "true or false", &e.ProxyProtocol, boolean),
	}
}

const wantNetworks = "networks such as 192.0.2.0/24, with commas between"

// settings is what can be said of the cluster that isn't discovered, or is discovered wrongly.
func (c *Cluster) settings() []setting {
	return []setting{
		optional("cluster.dnsPeers", "pods such as kube-system/k8s-app=kube-dns or networks such as 169.254.20.10/32, each with a port such as "+
			":5353 if it isn't 53, with commas between", &c.DNSPeers, listOf(peer)),
		optional("cluster.apiServerPeers", wantNetworks, &c.APIServerPeers, listOf(network)),
		optional("cluster.podNetworks", wantNetworks, &c.PodNetworks, listOf(network)),
		optional("cluster.serviceNetworks", wantNetworks, &c.ServiceNetworks, listOf(network)),
		optional("cluster.ipFamilies", "IPv4, IPv6, or both with a comma between", &c.IPFamilies, listOf(oneOf(IPv4, IPv6))),
		optional("cluster.imagePullSecrets", "names of Secrets, with commas between", &c.ImagePullSecrets, listOf(objectName)),
		optional("cluster.registryMirror", wantRegistry, &c.RegistryMirror, registryAddress),
		{path: "cluster.nodeSelector", optional: true, want: "labels of nodes, as an object", entries: &c.NodeSelector},
		optional("cluster.tolerations", "taints such as dedicated=platform:NoSchedule, with commas between", &c.Tolerations, listOf(taint)),
		optional("cluster.architectures", "amd64, arm64, or both with a comma between", &c.Architectures, listOf(oneOf("amd64", "arm64"))),
		optional("cluster.userIds", "fixed or assigned", &c.UserIDs, oneOf("fixed", "assigned")),
	}
}

const wantNodePort = "a port from 30000 to 32767"

// settings is where a store is; path is the store's own key.
func (s *Store) settings(path string) []setting {
	return []setting{
		{
			path: path + ".address", optional: true, want: "where the store is, such as db.example.com:5432",
			read: into(&s.Address, hostPort),
		},
		{
			path: path + ".network", optional: true, want: "a network such as 192.0.2.0/24",
			read: into(&s.Network, network),
		},
		{
			path: path + ".certificateAuthority", optional: true, want: "certificates in PEM",
			read: into(&s.CertificateAuthority, certificates),
		},
	}
}

func (p *Postgres) settings() []setting {
	return append(p.Store.settings("postgres"),
		setting{
			path: "postgres.adminUser", want: "the name of a role",
			defaults: defaults{local: "postgres", staging: "postgres", production: "postgres"},
			read:     into(&p.AdminUser, filled),
		},
		setting{
			path: "postgres.volumeSize", want: "a size such as 10Gi",
			defaults: defaults{local: "2Gi", staging: "20Gi", production: "100Gi"},
			read:     into(&p.VolumeSize, quantity.ParseBytes),
		},
		setting{
			path: "postgres.cpu", want: "an amount of CPU such as 500m or 2",
			defaults: defaults{local: "2", staging: "1", production: "4"},
			read:     into(&p.CPU, quantity.ParseCPU),
		},
		setting{
			path: "postgres.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "512Mi", staging: "1Gi", production: "8Gi"},
			read:     into(&p.Memory, quantity.ParseBytes),
		},
	)
}

func (r *Redis) settings() []setting {
	return append(r.Store.settings("redis"), setting{
		path: "redis.memory", want: "a size such as 512Mi or 4Gi",
		defaults: defaults{local: "512Mi", staging: "512Mi", production: "512Mi"},
		read:     into(&r.Memory, quantity.ParseBytes),
	})
}

func (s *Stream) settings() []setting {
	return append(s.Store.settings("stream"),
		setting{
			path: "stream.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "128Mi", staging: "256Mi", production: "1Gi"},
			read:     into(&s.Memory, quantity.ParseBytes),
		},
		setting{
			path: "stream.volumeSize", want: "a size such as 10Gi",
			defaults: defaults{local: "1Gi", staging: "5Gi", production: "20Gi"},
			read:     into(&s.VolumeSize, quantity.ParseBytes),
		},
	)
}

func (m *Monitoring) settings() []setting {
	return []setting{
		{
			path: "monitoring.retention", want: "days such as 15d, from 1d to 365d",
			defaults: defaults{local: "7d", staging: "15d", production: "35d"}, // objectives look back over 30 days
			read:     into(&m.Retention, days),
		},
		{
			path: "monitoring.volumeSize", want: "a size such as 10Gi",
			defaults: defaults{local: "2Gi", staging: "20Gi", production: "100Gi"},
			read:     into(&m.VolumeSize, quantity.ParseBytes),
		},
		{
			path: "monitoring.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "384Mi", staging: "1Gi", production: "4Gi"},
			read:     into(&m.Memory, quantity.ParseBytes),
		},
		{
			path: "monitoring.grafana", want: "true or false",
			defaults: defaults{local: "true", staging: "true", production: "true"},
			read:     into(&m.Grafana, boolean),
		},
		{
			path: "monitoring.runbooks", optional: true, want: "an address that starts with https://, of the folder docs/runbooks",
			read: into(&m.Runbooks, secureURL),
		},
		{
			path: "monitoring.webhookNetwork", optional: true, want: "a network such as 192.0.2.0/24",
			read: into(&m.WebhookNetwork, network),
		},
		{
			path: "monitoring.traces", optional: true, want: "where traces are kept (OTLP over gRPC with TLS), such as " +
				"traces.example.com:4317; http:// before it means without TLS",
			read: into(&m.Traces, tracesAddress),
		},
		{
			path: "monitoring.verifyKubelets", want: "true or false",
			defaults: defaults{local: "true", staging: "true", production: "true"},
			read:     into(&m.VerifyKubelets, boolean),
		},
	}
}

// ofService is the keys of one service: bounds of its own, and what the catalog lets a stack choose.
func (s *Stack) ofService(service catalog.Service) []setting {
	path := servicePath(service.Name)
	bound := func(set func(*Service, int)) func(string) error {
		return func(text string) error {
			number, err := between(1, 100)(text)
			if err == nil {
				s.service(service.Name, func(own *Service) { set(own, number) })
			}
			return err
		}
	}
	settings := []setting{
		{path: path + ".replicas.min", optional: true, want: wantReplicas,
			read: bound(func(own *Service, number int) { own.Replicas.Min = number })},
		{path: path + ".replicas.max", optional: true, want: wantReplicas,
			read: bound(func(own *Service, number int) { own.Replicas.Max = number })},
	}
	for _, choice := range service.Settings {
		settings = append(settings, setting{
			path: path + "." + choice.Key, optional: true, want: choice.Want,
			read: func(text string) error {
				value, err := choice.Read(text)
				if err != nil {
					return err
				}
				s.service(service.Name, func(own *Service) {
					if own.Settings == nil {
						own.Settings = map[string]string{}
					}
					own.Settings[choice.Key] = value
				})
				return nil
			},
		})
	}
	return settings
}

func servicePath(name string) string { return "services." + name }
