// Package stack is the configuration of one stack: typed, defaulted and checked.
package stack

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/quantity"
)

// Namespace is the project's namespace in the stack's configuration file.
const Namespace = "platform"

// Environment is what a stack is for. Several stacks may share one.
type Environment string

// The environments.
const (
	Local      Environment = "local"
	Staging    Environment = "staging"
	Production Environment = "production"
)

// Stack is the configuration of one stack. The keys, what they allow and their defaults stand in settings.go.
type Stack struct {
	Name         string
	Environment  Environment
	PromotesFrom string // the stack whose images this one runs, where it builds none
	Registry     string // host[:port][/prefix]; empty where nothing is built
	Build        bool   // compile and push images, or take those of PromotesFrom
	Kubeconfig   string // path, relative to the project's root; empty for the usual places
	KubeContext  string // empty for the current one
	// NamespacePrefix comes before the names of the namespaces and of cluster-scoped objects.
	NamespacePrefix namespace.Prefix
	StorageClass    string // empty for the cluster's default
	Demo            bool   // has a demo user
	Deadline        time.Duration
	CPURequests     int           // percent of their CPU requests that pods ask for
	Standby         time.Duration // how long a former version stands by after a release
	ProtectData     bool          // nothing that holds data is deleted or replaced
	// CertificateDuration is how long a certificate of the stack's own authority lasts. It is renewed in the last third.
	CertificateDuration time.Duration
	Edge                Edge
	Replicas            Replicas           // of the edge, and of every service that has none of its own
	Services            map[string]Service // by name; each service of the catalog is there
	Postgres            Postgres
	Redis               Redis
	Stream              Stream
	Monitoring          Monitoring
	Cluster             Cluster
}

// Edge is how the outside reaches the platform.
type Edge struct {
	Host              string // the DNS name that clients use
	Type              ServiceType
	HTTPPort          int      // on each node, where Type is NodePort
	HTTPSPort         int      // as HTTPPort
	TLSSecret         string   // the Secret in namespace edge with the certificate; empty where Issuer or the stack itself makes one
	Issuer            string   // cert-manager's ClusterIssuer
	TrustedProxies    []string // networks of load balancers whose word on the client's address is believed
	RequestsPerSecond int      // of one client address

	// Of a Service of type LoadBalancer. ProxyProtocol is believed from TrustedProxies.
	LoadBalancerClass string
	Annotations       map[string]string
	SourceRanges      []string
	ProxyProtocol     bool
}

// Cluster is what a stack says of its cluster. What is empty is discovered, or has a default: see package profile.
type Cluster struct {
	DNSPeers         []Peer   // the servers that pods ask for names
	APIServerPeers   []string // CIDRs
	PodNetworks      []string // CIDRs
	ServiceNetworks  []string // CIDRs
	IPFamilies       []Family
	ImagePullSecrets []string // Secrets that exist in each of the platform's namespaces
	RegistryMirror   string   // holds the images of others under their full names
	NodeSelector     map[string]string
	Tolerations      []string // taints: <key>[=<value>][:<effect>]
	Architectures    []string // as GOARCH
	UserIDs          string   // fixed, or assigned by the cluster
}

// Peer is pods by their labels, or a network, at a port.
type Peer struct {
	Namespace string            // of the pods
	Labels    map[string]string // of the pods
	Network   string            // CIDR; empty for pods
	Port      int
}

// String is the peer as a stack writes it.
func (p Peer) String() string {
	at := p.Network
	if at == "" {
		var labels []string
		for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
			labels = append(labels, key+"="+p.Labels[key])
		}
		at = p.Namespace + "/" + strings.Join(labels, "+")
	}
	if p.Port == dnsPort {
		return at
	}
	return fmt.Sprintf("%s:%d", at, p.Port)
}

// dnsPort is the port of a Peer unless another is given.
const dnsPort = 53

// Family is an IP family, as a Service names it.
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

// Replicas bounds autoscaling.
type Replicas struct{ Min, Max int }

// Service is what a stack chooses for one service.
type Service struct {
	Replicas Replicas
	Settings map[string]string // by the catalog's keys; holds those that are set
}

// Origins is whose pages may use the service, beside its own.
func (s Service) Origins() []string {
	if origins := s.Settings[catalog.CORSOrigins]; origins != "" {
		return strings.Split(origins, ",")
	}
	return nil
}

// Store is where a store is that the platform doesn't run itself.
type Store struct {
	Address              string // host:port; empty for one in the cluster
	Network              string // CIDR in which the address is, for the firewall; not needed where Address is a number
	CertificateAuthority string // PEM of who signs the store's certificate; empty for the system's roots
}

// Postgres is the database server, and its size in the cluster. CPU and Memory are its limits.
type Postgres struct {
	Store
	AdminUser  string // of a server elsewhere: who may make roles and databases
	VolumeSize quantity.Bytes
	CPU        quantity.CPU
	Memory     quantity.Bytes
}

// Redis is the cache, and its size in the cluster. Memory is what its entries may take.
type Redis struct {
	Store
	Memory quantity.Bytes
}

// Stream is the Redis that holds the streams of events, and its size in the cluster. Memory is what they may take.
type Stream struct {
	Store
	Memory     quantity.Bytes
	VolumeSize quantity.Bytes
}

// Monitoring is how long measurements are kept, who is told of alerts, and what is there to look at them.
type Monitoring struct {
	Retention      int // days
	VolumeSize     quantity.Bytes
	Memory         quantity.Bytes // Prometheus' limit
	Grafana        bool
	Runbooks       string // URL of the folder docs/runbooks; empty for none
	WebhookNetwork string // CIDR of the alert webhook, where it isn't on the internet
	VerifyKubelets bool   // kubelets have certificates of the cluster's authority
	Traces         string // host:port that takes OTLP over gRPC, with TLS but after http://; empty for no traces
}

// Requested is what a pod asks for on this stack that would ask for so much CPU.
func (s Stack) Requested(cpu quantity.CPU) quantity.CPU {
	return max(1, cpu*quantity.CPU(s.CPURequests)/100)
}

// TracesHostPort is Traces without how it is spoken to.
func (m Monitoring) TracesHostPort() string { return strings.TrimPrefix(m.Traces, plainText) }

// service is the configuration of one service, to be filled.
func (s *Stack) service(name string, change func(*Service)) {
	if s.Services == nil {
		s.Services = map[string]Service{}
	}
	service := s.Services[name]
	change(&service)
	s.Services[name] = service
}

// inherit gives each service what it has not of its own.
func (s *Stack) inherit(services []catalog.Service) {
	for _, service := range services {
		s.service(service.Name, func(own *Service) {
			own.Replicas.Min = cmp.Or(own.Replicas.Min, s.Replicas.Min)
			own.Replicas.Max = cmp.Or(own.Replicas.Max, max(s.Replicas.Max, own.Replicas.Min))
		})
	}
}
