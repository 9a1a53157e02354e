// Package stack is the configuration of one stack: typed, defaulted and checked.
package stack

import (
	"strings"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/namespace"
	"platform.example/infra/quantity"
)

// Namespace is the project's namespace in the stack's configuration file.
const Namespace = "platform"

// Environment is what a stack is for, and at the same time its name.
type Environment string

// The environments.
const (
	Local      Environment = "local"
	Staging    Environment = "staging"
	Production Environment = "production"
)

// Stack is the configuration of one stack. The keys, what they allow and their defaults stand in settings.go.
type Stack struct {
	Name        Environment
	Registry    string // host[:port][/prefix]; empty where nothing is built
	Build       bool   // compile and push images, or take what staging runs
	Kubeconfig  string // path, relative to the project's root; empty for the usual places
	KubeContext string // empty for the current one
	// NamespacePrefix comes before the names of the namespaces and of cluster-scoped objects.
	NamespacePrefix namespace.Prefix
	StorageClass    string // empty for the cluster's default
	Demo            bool   // has a demo user
	Deadline        time.Duration
	CPURequests     int           // percent of their CPU requests that pods ask for
	Standby         time.Duration // how long a former version stands by after a release
	ProtectData     bool          // nothing that holds data is deleted or replaced
	Edge            Edge
	Replicas        Replicas           // of the edge, and of every service that has none of its own
	Services        map[string]Service // by name; each service of the catalog is there
	Postgres        Postgres
	Redis           Redis
	Stream          Stream
	Monitoring      Monitoring
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
}

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
			if own.Replicas.Min == 0 {
				own.Replicas.Min = s.Replicas.Min
			}
			if own.Replicas.Max == 0 {
				own.Replicas.Max = max(s.Replicas.Max, own.Replicas.Min)
			}
		})
	}
}
