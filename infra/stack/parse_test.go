package stack_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/stack"
)

func allSecrets() []string {
	var names []string
	for _, secret := range catalog.Secrets(catalog.Services(), true) {
		names = append(names, secret.Name)
	}
	return names
}

func without(name string) []string {
	return slices.DeleteFunc(allSecrets(), func(secret string) bool { return secret == name })
}

// receivers are the secrets without which production has nobody to alert.
func receivers() []string { return []string{catalog.PagerDutyRoutingKey, catalog.DeadMansSwitchURL} }

// bucket is where the stacks of production in these tests keep their backups.
const bucket = "s3://backups/shop"

// links are the settings that a stack with a receiver needs.
func links() map[string]string {
	return map[string]string{
		"monitoring.prometheusUrl": "https://prometheus.example.com", "monitoring.alertmanagerUrl": "https://alertmanager.example.com",
		"monitoring.grafanaUrl": "https://grafana.example.com/", "monitoring.runbooks": "https://example.com/runbooks",
	}
}

// alerting adds what a stack of production needs to alert somebody and to back its data up.
func alerting(name string, plain map[string]string, secret []string) (map[string]string, []string) {
	if !strings.HasPrefix(name, "production") {
		return plain, secret
	}
	plain = maps.Clone(plain)
	maps.Copy(plain, links())
	if _, set := plain["backup"]; !set {
		plain["backup.bucket"] = bucket
	}
	return plain, append(slices.Clone(secret), receivers()...)
}

// replicas returns all services of the catalog with the same bounds.
func replicas(least, most int) map[string]stack.Service {
	services := map[string]stack.Service{}
	for _, service := range catalog.Services() {
		services[service.Name] = stack.Service{Replicas: stack.Replicas{Min: least, Max: most}}
	}
	return services
}

func TestDefaults(t *testing.T) {
	tests := []struct {
		name  string
		plain map[string]string
		want  stack.Stack
	}{
		{"local", map[string]string{"registry": "localhost:5000"}, stack.Stack{
			Name: "local", Environment: stack.Local, Registry: "localhost:5000", Build: true, Demo: true, Deadline: 2 * time.Minute, Standby: 30 * time.Minute, CPURequests: 40, CertificateDuration: 90 * 24 * time.Hour,
			Edge: stack.Edge{
				Host: "localhost", Type: stack.NodePort, HTTPPort: 30080, HTTPSPort: 30443, RequestsPerSecond: 2000,
			},
			Replicas: stack.Replicas{Min: 1, Max: 2},
			Services: replicas(1, 2),
			Postgres: stack.Postgres{Version: "15", AdminUser: "postgres", Instances: 1, Cluster: 1, VolumeSize: 2048, CPU: 2000, Memory: 512},
			Backup:   stack.Backup{Bucket: "s3://postgres", Retention: 7},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Instances: 1, Memory: 128, VolumeSize: 1024},

			Monitoring: stack.Monitoring{Retention: 7, VolumeSize: 2048, Memory: 384, Replicas: 1, Grafana: true, Probe: true, VerifyKubelets: true},
		}},
		{"staging", map[string]string{
			"registry": "registry.example.com/platform", "edge": `{"host":"staging.example.com","issuer":"letsencrypt"}`,
		}, stack.Stack{
			Name: "staging", Environment: stack.Staging, Registry: "registry.example.com/platform", Build: true,
			Deadline: 5 * time.Minute, Standby: time.Hour, CPURequests: 100, CertificateDuration: 90 * 24 * time.Hour, ProtectData: true,
			Edge: stack.Edge{
				Host: "staging.example.com", Type: stack.LoadBalancer, Issuer: "letsencrypt", RequestsPerSecond: 100,
			},
			Replicas: stack.Replicas{Min: 2, Max: 6},
			Services: replicas(2, 6),
			Postgres: stack.Postgres{Version: "15", AdminUser: "postgres", Instances: 2, Cluster: 1, VolumeSize: 20480, CPU: 1000, Memory: 1024},
			Backup:   stack.Backup{Retention: 14},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Instances: 1, Memory: 256, VolumeSize: 5120},

			Monitoring: stack.Monitoring{Retention: 15, VolumeSize: 20480, Memory: 1024, Replicas: 1, Grafana: true, Probe: true, VerifyKubelets: true},
		}},
		{"production", map[string]string{"edge": `{"host":"api.example.com","tlsSecret":"api"}`}, stack.Stack{
			Name: "production", Environment: stack.Production, PromotesFrom: "staging", Deadline: 5 * time.Minute, Standby: time.Hour, CPURequests: 100, CertificateDuration: 90 * 24 * time.Hour, ProtectData: true,
			Edge:     stack.Edge{Host: "api.example.com", Type: stack.LoadBalancer, TLSSecret: "api", RequestsPerSecond: 100},
			Replicas: stack.Replicas{Min: 3, Max: 20},
			Services: replicas(3, 20),
			Postgres: stack.Postgres{Version: "15", AdminUser: "postgres", Instances: 3, Cluster: 1, VolumeSize: 102400, CPU: 4000, Memory: 8192},
			Backup:   stack.Backup{Bucket: bucket, Retention: 30},
			Redis:    stack.Redis{Memory: 512},
			Stream:   stack.Stream{Instances: 1, Memory: 1024, VolumeSize: 20480},

			Monitoring: stack.Monitoring{Retention: 35, VolumeSize: 102400, Memory: 4096, Replicas: 2, Grafana: true, Probe: true, VerifyKubelets: true,
				PrometheusURL: "https://prometheus.example.com", AlertmanagerURL: "https://alertmanager.example.com", GrafanaURL: "https://grafana.example.com", Runbooks: "https://example.com/runbooks"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plain, secret := alerting(test.name, test.plain, allSecrets())
			got, err := stack.Parse(test.name, catalog.Services(), plain, secret)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestSettings(t *testing.T) {
	got, err := stack.Parse("local", catalog.Services(), map[string]string{
		"registry":     "10.0.0.1:5000/platform",
		"kubeconfig":   ".state/kubeconfig",
		"kubeContext":  "elsewhere",
		"storageClass": "fast",
		"demo":         "false",
		"deadline":     "90s",
		"standby":      "0s", "certificateDuration": "24h",
		"cpuRequests": "100",
		"protectData": "true",
		"edge": `{"type":"LoadBalancer","httpPort":31000,"trustedProxies":["192.0.2.0/24","2001:db8::/32"],"requestsPerSecond":5,
			"loadBalancerClass":"service.k8s.aws/nlb","sourceRanges":["198.51.100.0/24"],"proxyProtocol":true,
			"annotations":{"service.beta.kubernetes.io/aws-load-balancer-scheme":"internal"}}`,
		"postgres": `{"volumeSize":"10Gi","cpu":"2","memory":"4Gi","address":"db.example.com:5432","network":"192.0.2.0/24","adminUser":"root",
			"version":17,"instances":5,"cluster":4,"beside":[3,5]}`,
		"backup": `{"bucket":"s3://backups/shop/eu","endpoint":"https://objects.example.com:9000/","network":"198.51.100.0/24","retention":"60d",
			"serviceAccountAnnotations":{"eks.amazonaws.com/role-arn":"arn:aws:iam::1:role/backups"}}`,
		"redis":  `{"memory":"64Mi","address":"192.0.2.7:6380"}`,
		"stream": `{"instances":3,"memory":"64Mi","volumeSize":"2Gi"}`,
		"monitoring": `{"retention":"90d","volumeSize":"4Gi","memory":"512Mi","grafana":false,"probe":false,"verifyKubelets":false,
			"replicas":2,"prometheusUrl":"https://example.com/prometheus/","alertmanagerUrl":"https://example.com/alertmanager","grafanaUrl":"https://example.com/grafana",
			"runbooks":"https://docs.example.com/runbooks/","webhookNetwork":"192.0.2.0/24","traces":"http://traces.example.com:4317"}`,
		"replicas": `{"min":2,"max":5}`,
		"services": `{"user-service":{"replicas":{"min":7}},"api-gateway":{"requestsPerMinute":60}}`,
		"cluster": `{"dnsPeers":["dns/k8s-app=dns:5353","169.254.20.10/32","2001:db8::/64:5300"],"apiServerPeers":["192.0.2.1/32"],
			"podNetworks":["10.1.0.0/16"],"serviceNetworks":["10.2.0.0/16"],"ipFamilies":["IPv4","IPv6"],
			"imagePullSecrets":"one,two","admittedRegistries":"registry.example.com/mesh","registryMirror":"mirror.example.com/hub","nodeSelector":{"kubernetes.io/arch":"arm64"},
			"tolerations":["dedicated=platform:NoSchedule","spot"],"architectures":["arm64"],"userIds":"assigned"}`,
	}, allSecrets())
	if err != nil {
		t.Fatal(err)
	}
	services := replicas(2, 5)
	services["user-service"] = stack.Service{Replicas: stack.Replicas{Min: 7, Max: 7}}
	services["api-gateway"] = stack.Service{
		Replicas: stack.Replicas{Min: 2, Max: 5}, Settings: map[string]string{"requestsPerMinute": "60"},
	}
	want := stack.Stack{
		Name: "local", Environment: stack.Local, Registry: "10.0.0.1:5000/platform", Build: true,
		Kubeconfig: ".state/kubeconfig", KubeContext: "elsewhere", StorageClass: "fast",
		Deadline: 90 * time.Second, ProtectData: true, CPURequests: 100, CertificateDuration: 24 * time.Hour,
		Edge: stack.Edge{
			Host: "localhost", Type: stack.LoadBalancer, HTTPPort: 31000, HTTPSPort: 30443,
			TrustedProxies: []string{"192.0.2.0/24", "2001:db8::/32"}, RequestsPerSecond: 5,
			LoadBalancerClass: "service.k8s.aws/nlb", SourceRanges: []string{"198.51.100.0/24"}, ProxyProtocol: true,
			Annotations: map[string]string{"service.beta.kubernetes.io/aws-load-balancer-scheme": "internal"},
		},
		Replicas: stack.Replicas{Min: 2, Max: 5},
		Services: services,
		Postgres: stack.Postgres{
			Store:     stack.Store{Address: "db.example.com:5432", Network: "192.0.2.0/24"},
			AdminUser: "root", Version: "17", Instances: 5, Cluster: 4, Beside: []int{3, 5}, VolumeSize: 10240, CPU: 2000, Memory: 4096,
		},
		Backup: stack.Backup{Bucket: "s3://backups/shop/eu", Endpoint: "https://objects.example.com:9000", Network: "198.51.100.0/24", Retention: 60,
			Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/backups"}},
		Redis:  stack.Redis{Store: stack.Store{Address: "192.0.2.7:6380"}, Memory: 64},
		Stream: stack.Stream{Instances: 3, Memory: 64, VolumeSize: 2048},
		Monitoring: stack.Monitoring{
			Retention: 90, VolumeSize: 4096, Memory: 512, Replicas: 2, PrometheusURL: "https://example.com/prometheus",
			AlertmanagerURL: "https://example.com/alertmanager", GrafanaURL: "https://example.com/grafana", Runbooks: "https://docs.example.com/runbooks",
			WebhookNetwork: "192.0.2.0/24", Traces: "http://traces.example.com:4317",
		},
		Cluster: stack.Cluster{
			DNSPeers: []stack.Peer{
				{Namespace: "dns", Labels: map[string]string{"k8s-app": "dns"}, Port: 5353},
				{Network: "169.254.20.10/32", Port: 53}, {Network: "2001:db8::/64", Port: 5300},
			},
			APIServerPeers: []string{"192.0.2.1/32"}, PodNetworks: []string{"10.1.0.0/16"}, ServiceNetworks: []string{"10.2.0.0/16"},
			IPFamilies: []stack.Family{stack.IPv4, stack.IPv6}, ImagePullSecrets: []string{"one", "two"}, AdmittedRegistries: []string{"registry.example.com/mesh"},
			RegistryMirror: "mirror.example.com/hub", NodeSelector: map[string]string{"kubernetes.io/arch": "arm64"},
			Tolerations:   []string{"dedicated=platform:NoSchedule", "spot"},
			Architectures: []string{"arm64"}, UserIDs: "assigned",
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestFaults(t *testing.T) {
	registry := map[string]string{"registry": "localhost:5000"}
	with := func(key, text string) map[string]string {
		return map[string]string{"registry": "localhost:5000", key: text}
	}
	// remote has the settings that all stacks except local need.
	remote := func(key, text string) map[string]string {
		values := map[string]string{"registry": "localhost:5000", "edge": `{"host":"api.example.com","issuer":"letsencrypt"}`}
		if key != "" {
			values[key] = text
		}
		return values
	}
	and := func(values map[string]string, key, text string) map[string]string {
		values[key] = text
		return values
	}
	tests := []struct {
		name   string
		stack  string
		plain  map[string]string
		secret []string
		want   string
	}{
		{"an unknown stack", "dev", registry, allSecrets(),
			`stack dev: platform:environment: "": want one of local, staging, production: a stack with another name must set it`},
		{"an unknown environment", "production", remote("environment", "prod"), allSecrets(),
			`stack production: platform:environment: "prod": want one of local, staging, production`},
		{"a production that builds", "production-eu", and(remote("environment", "production"), "build", "true"), allSecrets(),
			`stack production-eu: platform:build: true: production never builds: it runs the images of stack staging`},
		{"images from nowhere", "staging", remote("build", "false"), allSecrets(),
			`stack staging: platform:promotesFrom: not set: the stack builds nothing`},
		{"images from two places", "staging", remote("promotesFrom", "rehearsal"), allSecrets(),
			`stack staging: platform:promotesFrom: "rehearsal": the stack builds its own images`},
		{"images from itself", "production", remote("promotesFrom", "production"), allSecrets(),
			`stack production: platform:promotesFrom: "production": is the stack itself`},
		{"a key set twice", "local", and(with("monitoring", `{"grafana":true}`), "monitoring.grafana", "false"), allSecrets(),
			`stack local: platform:monitoring.grafana: set twice: inside of an object and as a key with dots: remove the key "platform:monitoring.grafana"`},
		{"a key set twice, deeper", "local", and(with("services", `{"user-service":{"replicas":{"min":1}}}`), "services.user-service", `{"replicas":{"min":2}}`),
			allSecrets(), `stack local: platform:services.user-service.replicas.min: set twice`},
		{"more connections than memory", "local", with("replicas", `{"max":100}`), allSecrets(),
			`stack local: platform:replicas.max: 100: the services with a database may hold 4870 connections to Postgres (for each service ` +
				`8 × (replicas.max + 1) × 2 + 2, and 16 for others); postgres.memory 512Mi has room for 239 (1640 KiB each in three quarters of it)`},
		{"a PROXY protocol without trusted proxies", "local", with("edge", `{"proxyProtocol":true}`), allSecrets(),
			`stack local: platform:edge.proxyProtocol: true: want edge.trustedProxies too`},
		{"invalid annotations", "local", with("edge", `{"annotations":"x"}`), allSecrets(),
			`stack local: platform:edge.annotations: "x": want annotations of the edge's Service, as an object`},
		{"an invalid DNS peer", "local", with("cluster", `{"dnsPeers":["kube-dns"]}`), allSecrets(),
			`stack local: platform:cluster.dnsPeers: "kube-dns": want comma-separated pods such as kube-system/k8s-app=kube-dns`},
		{"an invalid taint", "local", with("cluster", `{"tolerations":["dedicated=platform:Never"]}`), allSecrets(),
			`stack local: platform:cluster.tolerations: "dedicated=platform:Never": want comma-separated taints`},
		{"no registry", "local", nil, allSecrets(),
			`stack local: platform:registry: not set: want a registry such as localhost:5000 or registry.example.com/platform`},
		{"an empty registry is not an unset one", "production", remote("registry", ""), allSecrets(),
			`stack production: platform:registry: "": want a registry such as`},
		{"a registry that means Docker Hub", "local", map[string]string{"registry": "platform"}, allSecrets(),
			`stack local: platform:registry: "platform": want a registry such as`},
		{"zero replicas", "local", with("replicas", `{"min":0}`), allSecrets(),
			`stack local: platform:replicas.min: "0": want a whole number from 1 to 100`},
		{"samples of less than the objectives' window", "production", remote("monitoring", `{"retention":"15d"}`), allSecrets(),
			`stack production: platform:monitoring.retention: 15 days: want at least 30d in production, the window of the objectives`},
		{"maximum below minimum", "production", remote("replicas", `{"max":2}`), allSecrets(),
			`stack production: platform:replicas.max: 2 is below replicas.min 3`},
		{"another Service type", "local", with("edge", `{"type":"Ingress"}`), allSecrets(),
			`stack local: platform:edge.type: "Ingress": want one of ClusterIP, NodePort, LoadBalancer`},
		{"NodePort without a port", "staging", remote("edge", `{"type":"NodePort","host":"a.example","issuer":"x","httpPort":30080}`), allSecrets(),
			`stack staging: platform:edge.httpsPort: not set: edge.type NodePort needs a port`},
		{"a privileged port", "local", with("edge", `{"httpPort":80}`), allSecrets(),
			`stack local: platform:edge.httpPort: "80": want a port from 30000 to 32767`},
		{"a null", "local", with("edge", `{"type":null}`), allSecrets(),
			`stack local: platform:edge.type: "": want one of`},
		{"a size without unit", "local", with("postgres", `{"memory":"512"}`), allSecrets(),
			`stack local: platform:postgres.memory: "512": want a size such as 512Mi or 4Gi`},
		{"too small a Postgres", "local", with("postgres", `{"memory":"64Mi"}`), allSecrets(),
			`stack local: platform:postgres.memory: "64Mi": want at least 256Mi`},
		{"too small a Redis", "local", with("redis", `{"memory":"1Mi"}`), allSecrets(),
			`stack local: platform:redis.memory: "1Mi": want at least 16Mi`},
		{"too small a stream", "local", with("stream", `{"memory":"1Mi"}`), allSecrets(),
			`stack local: platform:stream.memory: "1Mi": want at least 16Mi`},
		{"a pooler of a managed server", "local", with("postgres", `{"pooler":1,"address":"192.0.2.7:5432"}`), allSecrets(),
			`stack local: platform:postgres.pooler: 1: postgres.address is a managed server: want 0, and a pooler of its provider`},
		{"six instances of the pooler", "local", with("postgres", `{"pooler":6}`), allSecrets(),
			`stack local: platform:postgres.pooler: "6": want a whole number from 0 to 5`},
		{"a pooler with certificates of an hour", "local", map[string]string{"registry": "localhost:5000", "certificateDuration": "1h", "postgres": `{"pooler":1}`}, allSecrets(),
			`stack local: platform:certificateDuration: 1h0m0s: want at least 6h0m0s with postgres.pooler, which loads a renewed certificate within an hour`},
		{"two instances of the stream", "local", with("stream", `{"instances":2}`), allSecrets(),
			`stack local: platform:stream.instances: 2: want 1 or 3: the Sentinel of one instance alone may not choose a primary`},
		{"too small a volume for the stream", "local", with("stream", `{"volumeSize":"256Mi"}`), allSecrets(),
			`stack local: platform:stream.volumeSize: "256Mi" is below three times stream.memory "128Mi"`},
		{"one port for two", "local", with("edge", `{"httpsPort":30080}`), allSecrets(),
			`stack local: platform:edge.httpsPort: 30080 is edge.httpPort too`},
		{"an edge without a name", "staging", with("edge", `{"issuer":"letsencrypt"}`), allSecrets(),
			`stack staging: platform:edge.host: not set: want the DNS name that clients use`},
		{"an edge without a certificate", "staging", with("edge", `{"host":"a.example"}`), allSecrets(),
			`stack staging: platform:edge.tlsSecret: not set: want the Secret in namespace edge`},
		{"an edge with two certificates", "staging", with("edge", `{"host":"a.example","issuer":"x","tlsSecret":"y"}`), allSecrets(),
			`stack staging: platform:edge.tlsSecret: "y": edge.issuer is set too: want one of them`},
		{"an issuer on the stack local", "local", with("edge", `{"issuer":"x"}`), allSecrets(),
			`stack local: platform:edge.tlsSecret: a stack of environment local has an authority of its own`},
		{"a host with a scheme", "local", with("edge", `{"host":"https://a.example"}`), allSecrets(),
			`stack local: platform:edge.host: "https://a.example": want a DNS name`},
		{"an address instead of a network", "local", with("edge", `{"trustedProxies":["192.0.2.1/24"]}`), allSecrets(),
			`stack local: platform:edge.trustedProxies: "192.0.2.1/24": want comma-separated networks`},
		{"a store without a port", "local", with("redis", `{"address":"cache.example.com"}`), allSecrets(),
			`stack local: platform:redis.address: "cache.example.com": want the store's host and port, such as db.example.com:5432`},
		{"a store without a network", "local", with("stream", `{"address":"events.example.com:6379"}`), allSecrets(),
			`stack local: platform:stream.network: not set: want the network in which events.example.com is`},
		{"an invalid authority", "local", with("postgres", `{"certificateAuthority":"trust me"}`), allSecrets(),
			`stack local: platform:postgres.certificateAuthority: "trust me": want certificates in PEM`},
		{"certificates that last too long", "local", with("certificateDuration", "20000h"), allSecrets(),
			`stack local: platform:certificateDuration: "20000h": want how long certificates of the stack's own authority last, from 10m to 19800h (825 days)`},
		{"a standby that lasts too long", "local", with("standby", "25h"), allSecrets(),
			`stack local: platform:standby: "25h": want how long to keep the previous version as the standby after a release, from 0s to 24h`},
		{"a deadline without a unit", "local", with("deadline", "60"), allSecrets(),
			`stack local: platform:deadline: "60": want how long a rollout may take, from 30s to 30m`},
		{"a deadline that is too long", "local", with("deadline", "1h"), allSecrets(),
			`stack local: platform:deadline: "1h": want how long a rollout may take, from 30s to 30m`},
		{"no instance of Postgres", "local", with("postgres", `{"instances":0}`), allSecrets(),
			`stack local: platform:postgres.instances: "0": want a whole number from 1 to 9`},
		{"a Postgres cluster without a number", "local", with("postgres", `{"cluster":"first"}`), allSecrets(),
			`stack local: platform:postgres.cluster: "first": want the number of the Postgres cluster that serves`},
		{"a bucket without s3://", "local", with("backup", `{"bucket":"backups/shop"}`), allSecrets(),
			`stack local: platform:backup.bucket: "backups/shop": want a bucket or a folder in it, such as s3://backups/shop`},
		{"a bucket in upper case", "local", with("backup", `{"bucket":"s3://Backups"}`), allSecrets(),
			`stack local: platform:backup.bucket: "s3://Backups": want a bucket`},
		{"a folder of a bucket that is empty", "local", with("backup", `{"bucket":"s3://backups/"}`), allSecrets(),
			`stack local: platform:backup.bucket: "s3://backups/": want a bucket`},
		{"an object store without TLS", "local", with("backup", `{"endpoint":"http://objects.example.com"}`), allSecrets(),
			`stack local: platform:backup.endpoint: "http://objects.example.com": want an https:// URL`},
		{"backups for ever", "local", with("backup", `{"retention":"400d"}`), allSecrets(),
			`stack local: platform:backup.retention: "400d": want days such as 30d, from 1d to 365d`},
		{"production without backups", "production", remote("backup", `{"retention":"30d"}`), allSecrets(),
			`stack production: platform:backup.bucket: not set: production wants a bucket for the backups of Postgres, such as s3://backups/shop`},
		{"a restore from nowhere", "local", with("postgres", `{"restore":{"cluster":2}}`), allSecrets(),
			`stack local: platform:postgres.restore.from: want the number of an earlier cluster than postgres.restore.cluster 2, and backup.bucket with its archive`},
		{"a restore of a cluster from itself", "local", with("postgres", `{"restore":{"cluster":2,"from":2}}`), allSecrets(),
			`stack local: platform:postgres.restore.from: want the number of an earlier cluster than postgres.restore.cluster 2`},
		{"a restore from a later cluster", "local", with("postgres", `{"restore":{"cluster":2,"from":3}}`), allSecrets(),
			`stack local: platform:postgres.restore.from: want the number of an earlier cluster than postgres.restore.cluster 2`},
		{"a restore without an archive", "staging", remote("postgres", `{"restore":{"cluster":2,"from":1}}`), allSecrets(),
			`stack staging: platform:postgres.restore.from: want the number of an earlier cluster than postgres.restore.cluster 2, and backup.bucket`},
		{"a restore of a managed server", "local", with("postgres", `{"address":"192.0.2.7:5432","restore":{"cluster":2,"from":1}}`), allSecrets(),
			`stack local: platform:postgres.restore.from: want the number`},
		{"a restore into the first cluster", "local", with("postgres", `{"restore":{"cluster":1,"from":1}}`), allSecrets(),
			`stack local: platform:postgres.restore.cluster: "1": want the number of a restored Postgres cluster`},
		{"a restore to a time without a zone", "local", with("postgres", `{"restore":{"cluster":2,"from":1,"at":"2026-11-28 14:03"}}`), allSecrets(),
			`stack local: platform:postgres.restore.at: "2026-11-28 14:03": want a time such as 2026-11-28T14:03:00Z`},
		{"no replicas of one service", "production", remote("services", `{"user-service":{"replicas":{"min":0}}}`), allSecrets(),
			`stack production: platform:services.user-service.replicas.min: "0": want a whole number from 1 to 100`},
		{"maximum below minimum of one service", "production",
			remote("services", `{"user-service":{"replicas":{"max":2}}}`), allSecrets(),
			`stack production: platform:services.user-service.replicas.max: 2 is below replicas.min 3`},
		{"a setting of a service", "local", with("services", `{"notification-service":{"webhookUrl":"http://a.example"}}`), allSecrets(),
			`stack local: platform:services.notification-service.webhookUrl: "http://a.example": want the https:// URL that receives`},
		{"a mail server without a sender", "local", with("services", `{"notification-service":{"smtpServer":"smtp://a@smtp.example.com:587"}}`), allSecrets(),
			`stack local: platform:services.notification-service.mailFrom: not set: smtpServer needs it`},
		{"a mail server with its password", "local", with("services", `{"notification-service":{"smtpServer":"smtp://a:b@smtp.example.com:587","mailFrom":"a@example.com"}}`), allSecrets(),
			`stack local: platform:services.notification-service.smtpServer: "smtp://a:xxxxx@smtp.example.com:587": want the mail server, such as ` +
				`smtp://user@smtp.example.com:587 (STARTTLS) or smtps://user@smtp.example.com:465`},
		{"an unknown service", "local", with("services", `{"user-servise":{"replicas":{"min":2}}}`), allSecrets(),
			`stack local: platform:services.user-servise.replicas.min: unknown key: the nearest known one is ` +
				`platform:services.user-service.replicas.min`},
		{"neither true nor false", "local", with("demo", "yes"), allSecrets(),
			`stack local: platform:demo: "yes": want true or false`},
		{"a demo user in production", "production", remote("demo", "true"), allSecrets(),
			`stack production: platform:demo: true: only a stack of environment local has a demo user`},
		{"a demo user in staging", "staging", remote("demo", "true"), allSecrets(),
			`stack staging: platform:demo: true: only a stack of environment local has a demo user`},
		{"building in production", "production", remote("build", "true"), allSecrets(),
			`stack production: platform:build: true: production never builds: it runs the images of stack staging`},
		{"an unknown key", "local", with("regsitry", "x"), allSecrets(),
			`stack local: platform:regsitry: unknown key: the nearest known one is platform:registry`},
		{"an unknown key in an object", "local", with("edge", `{"httpport":30081}`), allSecrets(),
			`stack local: platform:edge.httpport: unknown key: the nearest known one is platform:edge.httpPort`},
		{"an unknown secret", "local", registry, append(allSecrets(), "jwtKey"),
			`stack local: platform:jwtKey: unknown key: the nearest known one is platform:jwtKeys`},
		{"a missing secret", "staging", remote("", ""), without("userServiceDatabasePassword"),
			"stack staging: platform:userServiceDatabasePassword: missing secret: run `make secrets STACK=staging`"},
		{"a secret in plain text", "staging", remote("jwtKeys", "hush"),
			without("jwtKeys"),
			"stack staging: platform:jwtKeys: stored in plain text: remove it with " +
				"`pulumi config rm platform:jwtKeys --stack staging`, then run `make secrets STACK=staging`"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			plain, secret := alerting(test.stack, test.plain, test.secret)
			_, err := stack.Parse(test.stack, catalog.Services(), plain, secret)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %s\nwant %s", err, test.want)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Error("the error contains a secret")
			}
		})
	}
}

func TestAllFaultsAreReportedAtOnce(t *testing.T) {
	_, err := stack.Parse("production", catalog.Services(), map[string]string{
		"demo":     "true",
		"replicas": `{"min":0,"max":2000}`,
		"colour":   "red",
	}, nil)
	if err == nil {
		t.Fatal("no error")
	}
	var paths []string
	for _, line := range strings.Split(err.Error(), "\n") {
		path, _, _ := strings.Cut(strings.TrimPrefix(line, "stack production: platform:"), ":")
		paths = append(paths, path)
	}
	want := "apiGatewayCachePassword backup.bucket certificateAuthority colour deadMansSwitchUrl demo edge.host edge.tlsSecret grafanaAdminPassword identityKeys jwtKeys " +
		"notificationServiceDatabasePassword notificationServiceStreamPassword orderServiceDatabasePassword " +
		"orderServiceStreamPassword pagerDutyRoutingKey postgresAdminPassword postgresMonitorPassword redisMonitorPassword redisPassword replicas.max " +
		"replicas.min streamMonitorPassword streamPassword userServiceCachePassword userServiceDatabasePassword userServiceStreamPassword webhookSecret"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("faults at %s\nwant      %s", got, want)
	}
}

func TestProductionAlertsSomebody(t *testing.T) {
	remote := map[string]string{"registry": "localhost:5000", "edge": `{"host":"api.example.com","issuer":"letsencrypt"}`, "backup.bucket": bucket}
	local := map[string]string{"registry": "localhost:5000"}
	for _, test := range []struct {
		about, stack string
		plain        map[string]string
		without      []string // of the links
		secret       []string
		want         []string // the faults; none: valid
	}{
		{"nobody", "production", remote, nil, []string{catalog.DeadMansSwitchURL}, []string{
			"stack production: platform:pagerDutyRoutingKey: missing: production wants this, slackWebhookUrl or alertWebhookUrl, so that pages reach somebody: " +
				"`pulumi config set --secret platform:pagerDutyRoutingKey --stack production`"}},
		{"no dead man's switch", "production", remote, nil, []string{catalog.SlackWebhookURL}, []string{
			"stack production: platform:deadMansSwitchUrl: missing: production wants a service that raises an alarm when the heartbeat of the monitoring stops: " +
				"`pulumi config set --secret platform:deadMansSwitchUrl --stack production`"}},
		{"PagerDuty", "production", remote, nil, []string{catalog.PagerDutyRoutingKey, catalog.DeadMansSwitchURL}, nil},
		{"Slack", "production", remote, nil, []string{catalog.SlackWebhookURL, catalog.DeadMansSwitchURL}, nil},
		{"a webhook", "production", remote, nil, []string{catalog.AlertWebhookURL, catalog.DeadMansSwitchURL}, nil},
		{"no links", "production", remote, slices.Collect(maps.Keys(links())), receivers(), []string{
			"stack production: platform:monitoring.alertmanagerUrl: not set: want the https:// URL that notifications of alerts link to: " +
				"`pulumi config set --path platform:monitoring.alertmanagerUrl <URL> --stack production`",
			"stack production: platform:monitoring.grafanaUrl: ", "stack production: platform:monitoring.prometheusUrl: ", "stack production: platform:monitoring.runbooks: "}},
		{"a staging that alerts somebody without links", "staging", remote, []string{"monitoring.runbooks"}, []string{catalog.SlackWebhookURL},
			[]string{"stack staging: platform:monitoring.runbooks: "}},
		{"a staging that alerts nobody", "staging", remote, slices.Collect(maps.Keys(links())), nil, nil},
		{"a local stack that alerts somebody", "local", local, slices.Collect(maps.Keys(links())), receivers(), nil},
	} {
		t.Run(test.about, func(t *testing.T) {
			plain := maps.Clone(test.plain)
			maps.Copy(plain, links())
			for _, path := range test.without {
				delete(plain, path)
			}
			_, err := stack.Parse(test.stack, catalog.Services(), plain, append(allSecrets(), test.secret...))
			var faults []string
			if err != nil {
				faults = strings.Split(err.Error(), "\n")
			}
			if !slices.EqualFunc(faults, test.want, strings.HasPrefix) {
				t.Errorf("got  %q\nwant %q", faults, test.want)
			}
			if _, err := stack.ParsePlain(test.stack, catalog.Services(), plain); err != nil {
				t.Errorf("without a look at the secrets: %v", err)
			}
		})
	}
	t.Run("no link to Grafana without Grafana", func(t *testing.T) {
		plain, secret := alerting("production", remote, allSecrets())
		delete(plain, "monitoring.grafanaUrl")
		plain["monitoring.grafana"] = "false"
		if _, err := stack.Parse("production", catalog.Services(), plain, secret); err != nil {
			t.Error(err)
		}
	})
}

func TestStacksShareAnEnvironment(t *testing.T) {
	for _, name := range []string{"production-eu", "production-us"} {
		plain, secret := alerting(name, map[string]string{
			"environment": "production", "promotesFrom": "staging-" + name[len(name)-2:], "edge": `{"host":"api.example.com","tlsSecret":"api"}`,
		}, allSecrets())
		got, err := stack.Parse(name, catalog.Services(), plain, secret)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != name || got.Environment != stack.Production || got.PromotesFrom != "staging-"+name[len(name)-2:] || got.Build || got.Replicas.Min != 3 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestBackups(t *testing.T) {
	const edge = `{"host":"api.example.com","tlsSecret":"api"}`
	for _, test := range []struct {
		name, stack         string
		plain               map[string]string
		backed, objectStore bool
	}{
		{"a local stack", "local", map[string]string{}, true, true},
		{"a local stack with an object store elsewhere", "local", map[string]string{"backup.endpoint": "https://objects.example.com"}, true, false},
		{"a local stack with a managed server", "local", map[string]string{"postgres.address": "192.0.2.7:5432"}, false, false},
		{"staging", "staging", map[string]string{"edge": edge}, false, false},
		{"staging with a bucket", "staging", map[string]string{"edge": edge, "backup.bucket": bucket}, true, false},
		{"production", "production", map[string]string{"edge": edge}, true, false},
		{"production with a managed server needs no bucket", "production",
			map[string]string{"edge": edge, "backup": `{"retention":"30d"}`, "postgres.address": "192.0.2.7:5432"}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			plain, secret := alerting(test.stack, test.plain, allSecrets())
			plain = maps.Clone(plain)
			plain["registry"] = "localhost:5000"
			got, err := stack.Parse(test.stack, catalog.Services(), plain, secret)
			if err != nil {
				t.Fatal(err)
			}
			if got.Backed() != test.backed || got.ObjectStore() != test.objectStore {
				t.Errorf("backed: %t, object store: %t", got.Backed(), got.ObjectStore())
			}
		})
	}
}

func TestRestoreToAMoment(t *testing.T) {
	got, err := stack.Parse("local", catalog.Services(), map[string]string{
		"registry": "localhost:5000", "postgres": `{"beside":[2],"restore":{"cluster":2,"from":1,"at":"2026-11-28T14:03:00Z"}}`,
	}, allSecrets())
	if err != nil {
		t.Fatal(err)
	}
	want := stack.Restore{Cluster: 2, From: 1, At: time.Date(2026, time.November, 28, 14, 3, 0, 0, time.UTC)}
	if got.Postgres.Restore != want || !slices.Equal(got.Postgres.Beside, []int{2}) {
		t.Errorf("got %+v beside %v, want %+v", got.Postgres.Restore, got.Postgres.Beside, want)
	}
}

func TestMaxConnections(t *testing.T) {
	for _, test := range []struct {
		name, memory, most string
		want               int
	}{
		{"the default", "512Mi", "2", 239},
		{"enough memory for one more service, rounded up", "4Gi", "2", 400},
		{"more replicas", "8Gi", "20", 1600},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := stack.Parse("local", catalog.Services(), map[string]string{
				"registry": "localhost:5000", "replicas": `{"max":` + test.most + `}`, "postgres": `{"memory":"` + test.memory + `"}`,
			}, allSecrets())
			if err != nil {
				t.Fatal(err)
			}
			if got := config.MaxConnections(catalog.Services()); got != test.want {
				t.Errorf("max_connections is %d, want %d", got, test.want)
			}
		})
	}
}
