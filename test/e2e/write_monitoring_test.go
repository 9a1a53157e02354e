package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestTargetWithInvalidMetricsDoesNotAffectOthers(t *testing.T) {
	const name = "e2e-garbage"
	// The target has the labels of a service, which Prometheus may scrape, and returns no valid metric.
	manifest := `
apiVersion: v1
kind: Pod
metadata:
  name: ` + name + `
  namespace: apps
  labels: {app.kubernetes.io/name: ` + name + `, platform.example/of: user-service}
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090", prometheus.io/path: /metrics}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: garbage
    image: ` + kit.ShellImage(t) + `
    command: [perl, -MIO::Socket::INET, -e]
    args: ['$s = IO::Socket::INET->new(LocalPort => 9090, Listen => 5, ReuseAddr => 1) or die; while ($c = $s->accept) { sysread $c, $b, 4096; print $c "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n\xff is no metric {{{\n"; close $c }']
    resources: {requests: {cpu: 5m, memory: 16Mi}, limits: {cpu: 200m, memory: 64Mi}}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`
	kit.StartPod(t, "apps", name, manifest)
	kit.Eventually(t, 90*time.Second, "the target is reported", func() error {
		down, err := kit.QueryValue(fmt.Sprintf("up{job=%q}", name))
		if err == nil && down != 0 {
			err = errors.New("the target counts as healthy")
		}
		if err != nil {
			return err
		}
		_, err = kit.QueryValue(fmt.Sprintf(`ALERTS{alertname="TargetDown", job=%q}`, name)) // pending at first
		return err
	})
	if up, err := kit.QueryValue("min(up{job=~\"" + strings.Join(kit.ServiceNames(), "|") + "\"})"); err != nil || up != 1 {
		t.Errorf("the other targets are %v (%v)", up, err)
	}
}
