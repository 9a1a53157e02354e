package stack

import "fmt"

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

func redisHasRoom(s Stack) string {
	if s.Redis.Memory < 16 { // an empty Redis takes some MiB, so that less would evict all the time
		return fmt.Sprintf("%q: want at least 16Mi", s.Redis.Memory)
	}
	return ""
}
