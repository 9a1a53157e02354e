package route

import (
	"fmt"
	"strings"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

// inhibition mutes the target while the source fires with the same values of the labels Equal.
type inhibition struct {
	Source []string `yaml:"source_matchers"`
	Target []string `yaml:"target_matchers"`
	Equal  []string `yaml:"equal,omitempty"`
}

// inhibitions mute alerts that follow from another alert. Alerts that explain the cause, such as PodCrashLooping, aren't muted.
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

// follow mutes the targets, of any severity, while the source fires.
func follow(source string, equal []string, targets ...string) inhibition {
	return inhibition{
		Source: []string{matches("alertname", source)},
		Target: []string{fmt.Sprintf("alertname=~%q", strings.Join(targets, "|"))},
		Equal:  equal,
	}
}

// of restricts the source to a job.
func of(i inhibition, job string) inhibition {
	i.Source = append(i.Source, matches("job", job))
	return i
}
