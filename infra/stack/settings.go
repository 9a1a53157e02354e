package stack

import (
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/quantity"
)

// settings returns all keys of the namespace, each bound to its field.
func (s *Stack) settings(services []catalog.Service) []setting {
	settings := []setting{
		of("environment", wantEnvironment, none, &s.Environment, oneOf(Local, Staging, Production)), // defaults to the stack's name
		of("promotesFrom", "the name of another stack", defaults{"", "", string(Staging)}, &s.PromotesFrom, stackName),
		of("registry", wantRegistry, none, &s.Registry, registryAddress),
		of("build", wantBoolean, defaults{"true", "true", "false"}, &s.Build, boolean),
		of("kubeconfig", "the path of a kubeconfig file", none, &s.Kubeconfig, filled),
		of("kubeContext", "the name of a context of the kubeconfig", none, &s.KubeContext, filled),
		of("namespacePrefix", "the prefix of the stack's namespaces, such as shop-: up to 20 lower case letters, digits and hyphens, "+
			"beginning with a letter and ending with a hyphen", none, &s.NamespacePrefix, namespacePrefix),
		of("storageClass", "the name of a StorageClass", none, &s.StorageClass, filled),
		of("demo", wantBoolean, defaults{"true", "false", "false"}, &s.Demo, boolean),
		of("deadline", "how long a rollout may take, from 30s to 30m", defaults{"2m", "5m", "5m"},
			&s.Deadline, span(30*time.Second, 30*time.Minute)),
		// Both colours of all services must fit on the one node of a local cluster.
		of("cpuRequests", "the percentage of the pods' usual CPU requests, from 10 to 100", defaults{"40", "100", "100"},
			&s.CPURequests, quantity.Between(10, 100)),
		of("standby", wantStandby, defaults{"30m", "1h", "1h"}, &s.Standby, span(0, 24*time.Hour)),
		// All clients accept certificates of up to 825 days (CA/Browser Forum, before 2020).
		of("certificateDuration", "how long certificates of the stack's own authority last, from 10m to 19800h (825 days)",
			always("2160h"), &s.CertificateDuration, span(10*time.Minute, 825*24*time.Hour)),
		of("protectData", wantBoolean, defaults{"false", "true", "true"}, &s.ProtectData, boolean),
		of("signature.key", "a public key in PEM, as cosign generate-key-pair writes it", none, &s.Signature.Key, publicKey),
		of("signature.identity", "the URL of a workflow at a ref", none, &s.Signature.Identity, filled),
		of("signature.issuer", "the https:// URL of an OpenID Connect issuer", none, &s.Signature.Issuer, folderURL),
		of("replicas.min", wantReplicas, defaults{"1", "2", "3"}, &s.Replicas.Min, quantity.Between(1, 100)),
		of("replicas.max", wantReplicas, defaults{"2", "6", "20"}, &s.Replicas.Max, quantity.Between(1, 100)),
	}
	settings = append(settings, s.Edge.settings()...)
	settings = append(settings, s.Postgres.settings()...)
	settings = append(settings, s.Backup.settings()...)
	settings = append(settings, s.Redis.settings()...)
	settings = append(settings, s.Stream.settings()...)
	settings = append(settings, s.Monitoring.settings()...)
	settings = append(settings, s.Cluster.settings()...)
	for _, service := range services {
		settings = append(settings, s.ofService(service)...)
	}
	return settings
}

// Allowed values of several settings, or used outside of this file.
const (
	wantEnvironment = "one of local, staging, production"
	wantBoolean     = "true or false"
	wantStandby     = "how long to keep the previous version as the standby after a release, from 0s to 24h"
	wantReplicas    = "a whole number from 1 to 100"
	wantNetwork     = "a network such as 192.0.2.0/24"
	wantNetworks    = "comma-separated networks such as 192.0.2.0/24"
	wantURL         = "an https:// URL"
	wantNodePort    = "a port from 30000 to 32767"
	wantVolume      = "a size such as 10Gi"
	wantMemory      = "a size such as 512Mi or 4Gi"
)

func (e *Edge) settings() []setting {
	return []setting{
		of("edge.host", "a DNS name such as api.example.com", defaults{"localhost", "", ""}, &e.Host, hostName),
		of("edge.type", "one of ClusterIP, NodePort, LoadBalancer", defaults{"NodePort", "LoadBalancer", "LoadBalancer"},
			&e.Type, oneOf(ClusterIP, NodePort, LoadBalancer)),
		of("edge.httpPort", wantNodePort, defaults{"30080", "", ""}, &e.HTTPPort, quantity.Between(30000, 32767)),
		of("edge.httpsPort", wantNodePort, defaults{"30443", "", ""}, &e.HTTPSPort, quantity.Between(30000, 32767)),
		of("edge.tlsSecret", "the name of a Secret", none, &e.TLSSecret, objectName),
		of("edge.issuer", "the name of a ClusterIssuer of cert-manager", none, &e.Issuer, objectName),
		of("edge.trustedProxies", wantNetworks, none, &e.TrustedProxies, listOf(network)),
		of("edge.requestsPerSecond", "a whole number from 1 to 1000000", defaults{"2000", "100", "100"},
			&e.RequestsPerSecond, quantity.Between(1, 1_000_000)),
		of("edge.loadBalancerClass", "the class of a load balancer, such as service.k8s.aws/nlb", none, &e.LoadBalancerClass, filled),
		{path: "edge.annotations", want: "annotations of the edge's Service, as an object", entries: &e.Annotations},
		of("edge.sourceRanges", wantNetworks, none, &e.SourceRanges, listOf(network)),
		of("edge.proxyProtocol", wantBoolean, none, &e.ProxyProtocol, boolean),
	}
}

// settings returns the keys of the cluster's properties. A key replaces the discovered value, if there is one.
func (c *Cluster) settings() []setting {
	return []setting{
		of("cluster.dnsPeers", "comma-separated pods such as kube-system/k8s-app=kube-dns or networks such as 169.254.20.10/32, each with a "+
			"port such as :5353 if it isn't 53", none, &c.DNSPeers, listOf(peer)),
		of("cluster.apiServerPeers", wantNetworks, none, &c.APIServerPeers, listOf(network)),
		of("cluster.podNetworks", wantNetworks, none, &c.PodNetworks, listOf(network)),
		of("cluster.serviceNetworks", wantNetworks, none, &c.ServiceNetworks, listOf(network)),
		of("cluster.ipFamilies", "IPv4, IPv6 or IPv4,IPv6", none, &c.IPFamilies, listOf(oneOf(IPv4, IPv6))),
		of("cluster.imagePullSecrets", "comma-separated names of Secrets", none, &c.ImagePullSecrets, listOf(objectName)),
		of("cluster.registryMirror", wantRegistry, none, &c.RegistryMirror, registryAddress),
		of("cluster.admittedRegistries", "comma-separated registries such as registry.example.com/mesh", none, &c.AdmittedRegistries, listOf(registryAddress)),
		{path: "cluster.nodeSelector", want: "labels of nodes, as an object", entries: &c.NodeSelector},
		of("cluster.tolerations", "comma-separated taints such as dedicated=platform:NoSchedule", none, &c.Tolerations, listOf(taint)),
		of("cluster.architectures", "amd64, arm64 or amd64,arm64", none, &c.Architectures, listOf(oneOf("amd64", "arm64"))),
		of("cluster.userIds", "fixed or assigned", none, &c.UserIDs, oneOf("fixed", "assigned")),
	}
}

// settings returns the keys of an external store below path.
func (s *Store) settings(path string) []setting {
	return []setting{
		of(path+".address", "the store's host and port, such as db.example.com:5432", none, &s.Address, hostPort),
		of(path+".network", wantNetwork, none, &s.Network, network),
		of(path+".certificateAuthority", "certificates in PEM", none, &s.CertificateAuthority, certificates),
	}
}

func (p *Postgres) settings() []setting {
	return append(p.Store.settings("postgres"),
		of("postgres.adminUser", "the name of a role", always("postgres"), &p.AdminUser, filled),
		of("postgres.version", "15 or 17", always("15"), &p.Version, oneOf("15", "17")),
		of("postgres.instances", "a whole number from 1 to 9: with 3 or more a commit waits for one standby", defaults{"1", "2", "3"},
			&p.Instances, quantity.Between(1, 9)),
		of("postgres.pooler", "a whole number from 0 to 5", always("0"), &p.Pooler, quantity.Between(0, 5)),
		of("postgres.cluster", "the number of the Postgres cluster that serves, which a restore raises", always("1"), &p.Cluster, clusterNumber),
		of("postgres.beside", "comma-separated numbers of Postgres clusters that don't serve", none, &p.Beside, listOf(clusterNumber)),
		of("postgres.restore.cluster", "the number of a restored Postgres cluster", none, &p.Restore.Cluster, quantity.Between(2, 1_000_000_000)),
		of("postgres.restore.from", "the number of the cluster whose archive is restored", none, &p.Restore.From, clusterNumber),
		of("postgres.restore.at", "a time such as 2026-11-28T14:03:00Z", none, &p.Restore.At, moment),
		of("postgres.volumeSize", wantVolume, defaults{"2Gi", "20Gi", "100Gi"}, &p.VolumeSize, quantity.ParseBytes),
		of("postgres.cpu", "an amount of CPU such as 500m or 2", defaults{"2", "1", "4"}, &p.CPU, quantity.ParseCPU),
		of("postgres.memory", wantMemory, defaults{"512Mi", "1Gi", "8Gi"}, &p.Memory, quantity.ParseBytes),
	)
}

func (b *Backup) settings() []setting {
	return []setting{
		of("backup.bucket", "a bucket or a folder in it, such as s3://backups/shop", defaults{"s3://postgres", "", ""}, &b.Bucket,
			matching[string](`s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*`)),
		of("backup.endpoint", wantURL, none, &b.Endpoint, folderURL),
		of("backup.network", wantNetwork, none, &b.Network, network),
		of("backup.certificateAuthority", "certificates in PEM", none, &b.CertificateAuthority, certificates),
		{path: "backup.serviceAccountAnnotations", want: "annotations of the ServiceAccount of Postgres, as an object", entries: &b.Annotations},
		of("backup.retention", "days such as 30d, from 1d to 365d", defaults{"7d", "14d", "30d"}, &b.Retention, days),
	}
}

func (r *Redis) settings() []setting {
	return append(r.Store.settings("redis"), of("redis.memory", wantMemory, always("512Mi"), &r.Memory, quantity.ParseBytes))
}

func (s *Stream) settings() []setting {
	return append(s.Store.settings("stream"),
		of("stream.instances", "1 or 3: with 3 an event waits for one replica", always("1"), &s.Instances, quantity.Between(1, 3)),
		of("stream.memory", wantMemory, defaults{"128Mi", "256Mi", "1Gi"}, &s.Memory, quantity.ParseBytes),
		of("stream.volumeSize", wantVolume, defaults{"1Gi", "5Gi", "20Gi"}, &s.VolumeSize, quantity.ParseBytes),
	)
}

func (m *Monitoring) settings() []setting {
	return []setting{
		// Objectives use the last 30 days.
		of("monitoring.retention", "days such as 15d, from 1d to 365d", defaults{"7d", "15d", "35d"}, &m.Retention, days),
		of("monitoring.volumeSize", wantVolume, defaults{"2Gi", "20Gi", "100Gi"}, &m.VolumeSize, quantity.ParseBytes),
		of("monitoring.memory", wantMemory, defaults{"384Mi", "1Gi", "4Gi"}, &m.Memory, quantity.ParseBytes),
		of("monitoring.grafana", wantBoolean, always("true"), &m.Grafana, boolean),
		of("monitoring.replicas", "1 or 2", defaults{"1", "1", "2"}, &m.Replicas, quantity.Between(1, 2)),
		of("monitoring.prometheusUrl", wantURL, none, &m.PrometheusURL, folderURL),
		of("monitoring.alertmanagerUrl", wantURL, none, &m.AlertmanagerURL, folderURL),
		of("monitoring.grafanaUrl", wantURL, none, &m.GrafanaURL, folderURL),
		of("monitoring.runbooks", "the https:// URL of the folder docs/runbooks", none, &m.Runbooks, folderURL),
		of("monitoring.webhookNetwork", wantNetwork, none, &m.WebhookNetwork, network),
		of("monitoring.traces", "the host and port that receive traces (OTLP over gRPC with TLS), such as traces.example.com:4317; with the "+
			"prefix http:// without TLS", none, &m.Traces, tracesAddress),
		of("monitoring.probe", wantBoolean, always("true"), &m.Probe, boolean),
		of("monitoring.verifyKubelets", wantBoolean, always("true"), &m.VerifyKubelets, boolean),
	}
}

// ofService returns the keys of one service: its replicas, and its settings in the catalog.
func (s *Stack) ofService(service catalog.Service) []setting {
	path := servicePath(service.Name)
	bound := func(set func(*Service, int)) func(string) error {
		return func(text string) error {
			number, err := quantity.Between(1, 100)(text)
			if err == nil {
				s.service(service.Name, func(own *Service) { set(own, number) })
			}
			return err
		}
	}
	settings := []setting{
		{path: path + ".replicas.min", want: wantReplicas, read: bound(func(own *Service, number int) { own.Replicas.Min = number })},
		{path: path + ".replicas.max", want: wantReplicas, read: bound(func(own *Service, number int) { own.Replicas.Max = number })},
	}
	for _, choice := range service.Settings {
		settings = append(settings, setting{
			path: path + "." + choice.Key, want: choice.Want,
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
