package stack

import (
	"fmt"

	"platform.example/infra/quantity"
)

// rule holds settings against each other. A fault is reported at its first path, and only if each path is sound alone.
type rule struct {
	paths []string
	check func(Stack) string // what is wrong; empty for nothing
}

func rules() []rule {
	return []rule{
		{[]string{"build"}, onlyProductionTakesStagingsImages},
		{[]string{"registry", "build"}, buildingNeedsARegistry},
		{[]string{"demo"}, demoIsLocal},
		{[]string{"gateway.nodePort", "gateway.type"}, nodePortIsGiven},
		{[]string{"replicas.max", "replicas.min"}, maxIsNotBelowMin},
		{[]string{"postgres.memory"}, postgresHasRoom},
		{[]string{"redis.memory"}, redisHasRoom},
		{[]string{"stream.memory"}, streamHasRoom},
		{[]string{"stream.volumeSize", "stream.memory"}, streamFitsItsVolume},
	}
}

func onlyProductionTakesStagingsImages(s Stack) string {
	switch {
	case s.Name == Production && s.Build:
		return "true: production never builds: it runs what staging has tested"
	case s.Name == Staging && !s.Build:
		return "false: staging must build: nothing else makes its images"
	default:
		return ""
	}
}

func buildingNeedsARegistry(s Stack) string {
	if s.Build && s.Registry == "" {
		return "not set: want " + wantRegistry
	}
	return ""
}

func demoIsLocal(s Stack) string {
	if s.Demo && s.Name != Local {
		return "true: only the stack local has a demo user"
	}
	return ""
}

func nodePortIsGiven(s Stack) string {
	if s.Gateway.Type == NodePort && s.Gateway.NodePort == 0 {
		return "not set: gateway.type NodePort needs a port from 30000 to 32767"
	}
	return ""
}

func maxIsNotBelowMin(s Stack) string {
	if s.Replicas.Max < s.Replicas.Min {
		return fmt.Sprintf("%d is below replicas.min %d", s.Replicas.Max, s.Replicas.Min)
	}
	return ""
}

func postgresHasRoom(s Stack) string {
	if s.Postgres.Memory < 256 { // its own minimum with a useful cache
		return fmt.Sprintf("%q: want at least 256Mi", s.Postgres.Memory)
	}
	return ""
}

// leastRedis is in MiB. An empty Redis takes some, so that less would evict, or refuse, all the time.
const leastRedis = 16

func redisHasRoom(s Stack) string  { return hasRoom(s.Redis.Memory) }
func streamHasRoom(s Stack) string { return hasRoom(s.Stream.Memory) }

func hasRoom(memory quantity.Bytes) string {
	if memory < leastRedis {
		return fmt.Sprintf("%q: want at least %dMi", memory, leastRedis)
	}
	return ""
}

// streamFitsItsVolume leaves room for the append-only file as it grows to twice its size, and for the new one.
func streamFitsItsVolume(s Stack) string {
	if s.Stream.VolumeSize < 3*s.Stream.Memory {
		return fmt.Sprintf("%q is below three times stream.memory %q", s.Stream.VolumeSize, s.Stream.Memory)
	}
	return ""
}
