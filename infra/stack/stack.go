// Package stack is the configuration of one stack: typed, defaulted and checked.
package stack

import "platform.example/infra/quantity"

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

// Stack is the configuration of one stack. The keys, what they allow and their defaults stand in settings.
type Stack struct {
	Name         Environment
	Registry     string // host[:port][/prefix]; empty where nothing is built
	Build        bool   // compile and push images, or take what staging runs
	Kubeconfig   string // path, relative to the project's root; empty for the usual places
	KubeContext  string // empty for the current one
	StorageClass string // empty for the cluster's default
	Demo         bool   // has a demo user
	Gateway      Gateway
	Replicas     Replicas
	Postgres     Postgres
	Redis        Redis
	Stream       Stream
}

// Gateway is how the public service is exposed.
type Gateway struct {
	Type     ServiceType
	NodePort int // used when Type is NodePort
}

// ServiceType is a Kubernetes Service type.
type ServiceType string

// The ways to expose the public service.
const (
	ClusterIP    ServiceType = "ClusterIP"
	NodePort     ServiceType = "NodePort"
	LoadBalancer ServiceType = "LoadBalancer"
)

// Replicas bounds the autoscaling of every service.
type Replicas struct{ Min, Max int }

// Postgres is the size of the database server. CPU and Memory are its limits.
type Postgres struct {
	VolumeSize quantity.Bytes
	CPU        quantity.CPU
	Memory     quantity.Bytes
}

// Redis is the size of the cache. Memory is what its entries may take.
type Redis struct {
	Memory quantity.Bytes
}

// Stream is the size of the Redis that holds the streams of events. Memory is what they may take.
type Stream struct {
	Memory     quantity.Bytes
	VolumeSize quantity.Bytes
}

// settings is every key of the namespace, bound to the field that it sets.
func (s *Stack) settings() []setting {
	return []setting{
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
			path: "storageClass", optional: true, want: "the name of a StorageClass",
			read: into(&s.StorageClass, filled),
		},
		{
			path: "demo", want: "true or false",
			defaults: defaults{local: "true", staging: "false", production: "false"},
			read:     into(&s.Demo, boolean),
		},
		{
			path: "gateway.type", want: "one of ClusterIP, NodePort, LoadBalancer",
			defaults: defaults{local: "NodePort", staging: "ClusterIP", production: "ClusterIP"},
			read:     into(&s.Gateway.Type, oneOf(ClusterIP, NodePort, LoadBalancer)),
		},
		{
			path: "gateway.nodePort", optional: true, want: "a port from 30000 to 32767",
			defaults: defaults{local: "30080"},
			read:     into(&s.Gateway.NodePort, between(30000, 32767)),
		},
		{
			path: "replicas.min", want: "a whole number from 1 to 100",
			defaults: defaults{local: "1", staging: "2", production: "3"},
			read:     into(&s.Replicas.Min, between(1, 100)),
		},
		{
			path: "replicas.max", want: "a whole number from 1 to 100",
			defaults: defaults{local: "3", staging: "6", production: "20"},
			read:     into(&s.Replicas.Max, between(1, 100)),
		},
		{
			path: "postgres.volumeSize", want: "a size such as 10Gi",
			defaults: defaults{local: "2Gi", staging: "20Gi", production: "100Gi"},
			read:     into(&s.Postgres.VolumeSize, quantity.ParseBytes),
		},
		{
			path: "postgres.cpu", want: "an amount of CPU such as 500m or 2",
			defaults: defaults{local: "1", staging: "1", production: "4"},
			read:     into(&s.Postgres.CPU, quantity.ParseCPU),
		},
		{
			path: "postgres.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "512Mi", staging: "1Gi", production: "8Gi"},
			read:     into(&s.Postgres.Memory, quantity.ParseBytes),
		},
		{
			path: "redis.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "512Mi", staging: "512Mi", production: "512Mi"},
			read:     into(&s.Redis.Memory, quantity.ParseBytes),
		},
		{
			path: "stream.memory", want: "a size such as 512Mi or 4Gi",
			defaults: defaults{local: "128Mi", staging: "256Mi", production: "1Gi"},
			read:     into(&s.Stream.Memory, quantity.ParseBytes),
		},
		{
			path: "stream.volumeSize", want: "a size such as 10Gi",
			defaults: defaults{local: "1Gi", staging: "5Gi", production: "20Gi"},
			read:     into(&s.Stream.VolumeSize, quantity.ParseBytes),
		},
	}
}
