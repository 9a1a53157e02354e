// Package stack is the configuration of one stack: typed, defaulted and checked.
package stack

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	labelset "k8s.io/apimachinery/pkg/labels"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/quantity"
)

// Namespace is the project's namespace in the stack's configuration file.
const Namespace = "platform"

// Environment is the purpose of a stack. Several stacks may share one.
type Environment string

// The environments.
const (
	Local      Environment = "local"
	Staging    Environment = "staging"
	Production Environment = "production"
)

// Stack is the configuration of one stack. settings.go has the keys, their allowed values and their defaults.
type Stack struct {
	Name         string
	Environment  Environment
	PromotesFrom string // the stack whose images this one runs, if it builds none
	Registry     string // host[:port][/prefix]; may be empty if the stack builds nothing
	Build        bool   // compile and push images instead of using those of PromotesFrom
	Kubeconfig   string // path, relative to the project's root; empty for the default files
	KubeContext  string // empty for the current one
	// NamespacePrefix is the prefix of the names of namespaces and cluster-scoped objects.
	NamespacePrefix namespace.Prefix
	StorageClass    string // empty for the cluster's default
	Demo            bool   // create a demo user
	Deadline        time.Duration
	CPURequests     int           // percentage of the pods' usual CPU requests
	Standby         time.Duration // how long to keep the previous version as the standby after a release
	ProtectData     bool          // refuse to delete or replace objects that hold data
	// CertificateDuration is the validity of certificates of the stack's own authority. They are renewed in the last third.
	CertificateDuration time.Duration
	Edge                Edge
	Replicas            Replicas           // of the edge, and the default of services
	Services            map[string]Service // by name, with all services of the catalog
	Postgres            Postgres
	Backup              Backup
	Redis               Redis
	Stream              Stream
	Monitoring          Monitoring
	Cluster             Cluster
	Signature           Signature
}

// Signature names the signer of the services' images: a key, or the identity of a workflow. Without it, images need no signature.
type Signature struct {
	Key      string // public key in PEM
	Identity string // such as https://github.com/shop/platform/.github/workflows/staging.yml@refs/heads/main
	Issuer   string // of the identity, such as https://token.actions.githubusercontent.com
}

// Edge is the configuration of the platform's public entry.
type Edge struct {
	Host              string // the DNS name that clients use
	Type              ServiceType
	HTTPPort          int      // node port, for type NodePort
	HTTPSPort         int      // node port, for type NodePort
	TLSSecret         string   // the Secret in namespace edge with the certificate; empty if Issuer or the stack's authority issues it
	Issuer            string   // cert-manager's ClusterIssuer
	TrustedProxies    []string // networks of load balancers that may set the client's address
	RequestsPerSecond int      // limit per client address

	// For type LoadBalancer. The edge accepts the PROXY protocol from TrustedProxies.
	LoadBalancerClass string
	Annotations       map[string]string
	SourceRanges      []string
	ProxyProtocol     bool
}

// Cluster overrides the discovered properties of the cluster. For empty fields see package profile.
type Cluster struct {
	DNSPeers           []Peer   // DNS servers of pods
	APIServerPeers     []string // CIDRs
	PodNetworks        []string // CIDRs
	ServiceNetworks    []string // CIDRs
	IPFamilies         []Family
	ImagePullSecrets   []string // Secrets that exist in each of the platform's namespaces
	AdmittedRegistries []string // of containers that other software injects into the services' pods, such as a mesh
	RegistryMirror     string   // has third-party images under their full names
	NodeSelector       map[string]string
	Tolerations        []string // taints: <key>[=<value>][:<effect>]
	Architectures      []string // as GOARCH
	UserIDs            string   // fixed, or assigned by the cluster
}

// Peer is a port of pods, selected by labels, or of a network.
type Peer struct {
	Namespace string            // of the pods
	Labels    map[string]string // of the pods
	Network   string            // CIDR; empty for pods
	Port      int
}

// String formats the peer as in the stack's configuration.
func (p Peer) String() string {
	at := cmp.Or(p.Network, p.Namespace+"/"+strings.ReplaceAll(labelset.Set(p.Labels).String(), ",", "+"))
	if p.Port == dnsPort {
		return at
	}
	return fmt.Sprintf("%s:%d", at, p.Port)
}

// dnsPort is the default port of a Peer.
const dnsPort = 53

// Family is an IP family of a Service.
type Family string

// The IP families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// ServiceType is a Kubernetes Service type.
type ServiceType string

// The ways to expose the edge.
const (
	ClusterIP    ServiceType = "ClusterIP"
	NodePort     ServiceType = "NodePort"
	LoadBalancer ServiceType = "LoadBalancer"
)

// Replicas are the bounds of an autoscaler.
type Replicas struct{ Min, Max int }

// Service is the configuration of one service.
type Service struct {
	Replicas Replicas
	Settings map[string]string // the settings that are set, by the catalog's keys
}

// Origins are the allowed CORS origins of the service.
func (s Service) Origins() []string {
	if origins := s.Settings[catalog.CORSOrigins]; origins != "" {
		return strings.Split(origins, ",")
	}
	return nil
}

// Store is an external store.
type Store struct {
	Address              string // host:port; empty for a store that the platform runs
	Network              string // CIDR of the address, for NetworkPolicies; optional if Address is an IP address
	CertificateAuthority string // PEM of the store's authority; empty for the system's roots
}

// Postgres is the database server, and its size in the cluster. CPU and Memory are its limits.
type Postgres struct {
	Store
	Version    string // the major version of the instances
	AdminUser  string // role of an external server that may create roles and databases
	Instances  int    // a primary and its standbys
	Pooler     int    // instances of PgBouncer between the services and the primary; 0 for none
	Cluster    int    // the number of the Postgres cluster that serves: each restore creates the next one
	Beside     []int  // the numbers of clusters that don't serve: a restored one before it serves, and the former one after it
	Restore    Restore
	VolumeSize quantity.Bytes
	CPU        quantity.CPU
	Memory     quantity.Bytes
}

// Image is the name of the instances' image in upstream.json.
func (p Postgres) Image() string { return strings.TrimSuffix("postgres-"+p.Version, "-15") }

// Restore is a Postgres cluster with the data of another one's archive.
type Restore struct {
	Cluster int       // its number; 0 for no restore
	From    int       // the number of the other cluster
	At      time.Time // how far to recover; zero for the end of the archive
}

// Backup is where the write-ahead log and the base backups of Postgres go.
type Backup struct {
	Bucket               string            // s3://<bucket>[/<folder>]; empty for no backups
	Endpoint             string            // URL of the object store; empty for AWS
	Network              string            // CIDR of the object store; empty if it is on the internet
	CertificateAuthority string            // PEM; empty for the system's roots
	Retention            int               // days
	Annotations          map[string]string // of the ServiceAccount of the instances, for their role at the object store
}

// Backed reports whether the stack runs Postgres with backups.
func (s Stack) Backed() bool { return s.Postgres.Address == "" && s.Backup.Bucket != "" }

// ObjectStore reports whether the stack runs an object store for its backups: a local stack that names no other.
func (s Stack) ObjectStore() bool {
	return s.Backed() && s.Environment == Local && s.Backup.Endpoint == ""
}

// Redis is the cache, and its size in the cluster. Memory is the maximum size of its entries.
type Redis struct {
	Store
	Memory quantity.Bytes
}

// Stream is the Redis with the streams of events, and its size in the cluster. Memory is the maximum size of the streams.
type Stream struct {
	Store
	Instances  int // one, or a primary and two replicas
	Memory     quantity.Bytes
	VolumeSize quantity.Bytes
}

// Monitoring is the configuration of monitoring.
type Monitoring struct {
	Retention  int // days
	VolumeSize quantity.Bytes
	Memory     quantity.Bytes // Prometheus' limit
	Grafana    bool
	Replicas   int // of Prometheus and of Alertmanager
	// The URLs at which people open them, and that of the folder docs/runbooks. Without one, alerts link to the address of make dashboard
	// or to the file.
	PrometheusURL, AlertmanagerURL, GrafanaURL, Runbooks string

	WebhookNetwork string // CIDR of the alert webhook, if it isn't on the internet
	Probe          bool   // Prometheus requests the public address, which the cluster must be able to reach
	VerifyKubelets bool   // kubelets have certificates of the cluster's authority
	Traces         string // host:port that receives OTLP over gRPC, with TLS unless prefixed by http://; empty for no traces
}

// Requested returns the CPU request on this stack for a pod's usual request.
func (s Stack) Requested(cpu quantity.CPU) quantity.CPU {
	return max(1, cpu*quantity.CPU(s.CPURequests)/100)
}

// TracesHostPort is Traces without the prefix.
func (m Monitoring) TracesHostPort() string { return strings.TrimPrefix(m.Traces, plainText) }

// service changes the configuration of one service.
func (s *Stack) service(name string, change func(*Service)) {
	if s.Services == nil {
		s.Services = map[string]Service{}
	}
	service := s.Services[name]
	change(&service)
	s.Services[name] = service
}

// inherit sets the default replicas of each service.
func (s *Stack) inherit(services []catalog.Service) {
	for _, service := range services {
		s.service(service.Name, func(own *Service) {
			own.Replicas.Min = cmp.Or(own.Replicas.Min, s.Replicas.Min)
			own.Replicas.Max = cmp.Or(own.Replicas.Max, max(s.Replicas.Max, own.Replicas.Min))
		})
	}
}
