package route

import (
	"fmt"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// inhibition says that nobody is told of the target while the source fires, where they have the labels Equal in common.
type inhibition struct {
	Source []string `yaml:"source_matchers"`
	Target []string `yaml:"target_matchers"`
	Equal  []string `yaml:"equal,omitempty"`
}

// inhibitions is which alerts follow from which: one cause is told once. What tells why, such as PodCrashLooping, is told.
func inhibitions() []inhibition {
	return []inhibition{
		{
			Source: []string{matches("severity", string(catalog.Page))}, Target: []string{matches("severity", string(catalog.Ticket))},
			Equal: []string{"alertname", "job"},
		},
		follow("NodeNotReady", []string{"node"}, "PodCrashLooping", "PodOutOfMemory", "TargetDown", "TargetServesGarbage",
			"NodePressure", "NodeMemoryLow", "NodeDiskFilling", "NodeDiskFull"),
		follow("ServiceDown", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "LiveColourDown", "ReplicasShort",
			"TargetDown", "TargetMissing", "TargetServesGarbage", "BreakerOpen", "BulkheadFull", "OutboxStuck", "StreamLag", "StreamStalled"),
		follow("LiveColourDown", []string{"job"}, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "BreakerOpen", "ReplicasShort"),
		follow("EdgeDown", []string{"job"}, "EdgeFailing", "EdgeTrafficGone", "ReplicasShort", "TargetDown", "TargetMissing", "TargetServesGarbage"),
		follow("EdgeFailing", []string{"job"}, "EdgeTrafficGone"),
		follow("PostgresDown", nil, "AvailabilityBudgetBurn", "LatencyBudgetBurn", "EdgeFailing", "BreakerOpen", "BulkheadFull",
			"RevocationsOld", "OutboxStuck", "StreamLag", "StreamStalled", "WebhookFailing", "PostgresConnections"),
		of(follow("RedisDown", nil, "OutboxStuck", "StreamLag", "StreamStalled", "StreamMemory", "StreamNotPersisting"), network.Stream),
		of(follow("RedisDown", nil, "CacheEvicting"), network.Cache),
		follow("StreamNotPersisting", nil, "OutboxStuck"),
		follow("StreamLag", []string{"job", "consumer"}, "StreamStalled"),
		follow("VolumeFull", []string{"job", "persistentvolumeclaim"}, "VolumeFilling"),
		follow("NodeDiskFull", []string{"node", "device"}, "NodeDiskFilling"),
		follow("TargetMissing", []string{"job"}, "TargetDown"),
	}
}

// follow is what fires because another alert does, of whatever severity.
func follow(source string, equal []string, targets ...string) inhibition {
	return inhibition{
		Source: []string{matches("alertname", source)},
		Target: []string{fmt.Sprintf("alertname=~%q", strings.Join(targets, "|"))},
		Equal:  equal,
	}
}

// of narrows the source to a job.
func of(i inhibition, job string) inhibition {
	i.Source = append(i.Source, matches("job", job))
	return i
}
