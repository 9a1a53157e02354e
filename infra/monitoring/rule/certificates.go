package rule

import (
	"fmt"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

const (
	day = 24 * time.Hour

	// certificateTicket is less than the 30 days before its end at which a certificate of 90 days is renewed: an automatic renewal
	// raises no alert. certificatePage is when it can no longer wait for a Monday.
	certificateTicket = 21 * day
	certificatePage   = 3 * day
)

// certificates is when certificates expire. Traefik reports its own. The stores report none: whenever the CronJob that renews
// certificates has succeeded, each of them lasts for a third of its duration at least.
func certificates(ours string, authority time.Time, duration time.Duration) Group {
	const expires, authorityJob = "job:certificate_not_after:timestamp_seconds", "certificate-authority"
	renewal := duration / 3
	cronJob := fmt.Sprintf(`{%s, cronjob="%s"}`, ours, network.Certificates)
	group := Group{Name: "certificates", Records: []Record{{
		// Traefik goes on telling of a certificate that was replaced; its own makeshift one serves nobody.
		Name: expires, Expr: fmt.Sprintf(
			`min by (job) (max by (job, pod, cn, sans) (traefik_tls_certs_not_after{job="%s", cn!="TRAEFIK DEFAULT CERT"}))`, network.Edge),
	}, {
		Name: expires, Labels: map[string]string{"job": network.Certificates},
		Expr: fmt.Sprintf(`max(kube_cronjob_status_last_successful_time%s or kube_cronjob_created%[1]s) + %d`, cronJob, int(renewal.Seconds())),
	}}}
	if !authority.IsZero() {
		group.Records = append(group.Records, Record{
			Name: expires, Expr: fmt.Sprintf("vector(%d)", authority.Unix()), Labels: map[string]string{"job": authorityJob},
		})
	}
	for _, at := range []struct {
		severity         catalog.Severity
		authority, other time.Duration // that are left
	}{
		{catalog.Page, certificatePage, min(certificatePage, renewal/10)},
		{catalog.Ticket, certificateTicket, min(certificateTicket, renewal*7/10)},
	} {
		group.Alerts = append(group.Alerts, Alert{
			Name: "CertificateEnds", For: 5 * time.Minute, Severity: at.severity,
			Expr: fmt.Sprintf(`%[1]s{job="%[2]s"} - time() < %[3]d or %[1]s{job!="%[2]s"} - time() < %[4]d`,
				expires, authorityJob, int(at.authority.Seconds()), int(at.other.Seconds())),
			Summary:     "{{ $labels.job }}: the certificate expires soon",
			Description: "The certificate of {{ $labels.job }} expires in {{ $value | humanizeDuration }}. From then on every client that verifies it fails to connect.",
		})
	}
	return group
}
