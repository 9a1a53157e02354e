package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

// bothColours is how long two colours may run side by side before somebody should decide. It is as long as a release with
// a pause to watch takes, and a part of an hour more.
const bothColours = 2 * time.Hour

// releases is what gets stuck between an old version and a new one.
func releases(ours string) Group {
	return Group{Name: "releases", Alerts: []Alert{{
		Name: "ReleaseStuck", For: bothColours, Severity: catalog.Ticket,
		Expr:        fmt.Sprintf(`count by (job) (count by (job, colour) (up{namespace="%s", colour!=""} == 1)) > 1`, apps),
		Summary:     "{{ $labels.job }}: two colours have been running for two hours",
		Description: "{{ $value }} colours of {{ $labels.job }} run. A release was neither finished nor taken back; both cost, and the standby one grows old.",
	}, {
		Name: "RolloutStuck", For: time.Minute, Severity: catalog.Ticket,
		Expr:        ofWorkload(fmt.Sprintf(`kube_deployment_status_condition{%s, condition="Progressing", status="false"} == 1`, ours), "deployment"),
		Summary:     "{{ $labels.job }}: the rollout of {{ $labels.deployment }} makes no progress",
		Description: "Deployment {{ $labels.deployment }} in {{ $labels.namespace }} has passed its deadline. What ran before goes on; the new version doesn't become ready.",
	}}}
}
