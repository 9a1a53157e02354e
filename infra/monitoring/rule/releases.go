package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
)

const (
	// retiring is how long after its time what stands by may still run: until a release that is under way has ended.
	retiring = time.Hour
	// idleColour is for how long a colour without traffic has answered nothing: a switch starts that again.
	idleColour = 5 * time.Minute
)

// releases alerts on what gets stuck between an old version and a new one. A former version stands by for the given time.
func releases(ours string, standby time.Duration) Group {
	late := standby + retiring
	both := fmt.Sprintf(`count by (job) (count by (job, colour) (up{namespace="%s", colour!=""} == 1)) > 1`, apps)
	idle := fmt.Sprintf(`time() - min by (job) (max by (job, colour) (service_last_answer_timestamp_seconds{namespace="%s", colour!=""})) > %.0f`,
		apps, idleColour.Seconds())
	return Group{Name: "releases", Alerts: []Alert{{
		Name: "ReleaseStuck", For: late, Severity: catalog.Ticket,
		Expr:    both + " and on (job) (" + idle + ")",
		Summary: "{{ $labels.job }}: two colours have been running for longer than one stands by",
		Description: "{{ $value }} colours of {{ $labels.job }} run, and one of them has had no traffic for more than " + late.String() +
			". A release was neither finished nor rolled back, or the standby wasn't retired; both cost.",
	}, {
		Name: "RolloutStuck", For: time.Minute, Severity: catalog.Ticket,
		Expr:        ofWorkload(fmt.Sprintf(`kube_deployment_status_condition{%s, condition="Progressing", status="false"} == 1`, ours), "deployment"),
		Summary:     "{{ $labels.job }}: the rollout of {{ $labels.deployment }} makes no progress",
		Description: "Deployment {{ $labels.deployment }} in {{ $labels.namespace }} has passed its deadline. What ran before goes on; the new version doesn't become ready.",
	}}}
}
