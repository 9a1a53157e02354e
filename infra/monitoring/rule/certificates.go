package rule

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"platform.example/infra/catalog"
	"platform.example/infra/network"
)

const (
	day = 24 * time.Hour

	// certificateTicket is less than the 30 days before its end at which an issuer renews a certificate of 90 days: what is
	// renewed by itself isn't told. certificatePage is when it can no longer wait for a Monday.
	certificateTicket = 21 * day
	certificatePage   = 3 * day
)

// certificates is when certificates end. The edge tells of its own; the exporters of Postgres and Redis check the
// certificates of their stores and tell of them nothing, so that for these stands what the stack was given.
func certificates(known map[string]time.Time) Group {
	const ends = "job:certificate_not_after:timestamp_seconds"
	group := Group{Name: "certificates", Records: []Record{{
		// Traefik goes on telling of a certificate that was replaced; its own makeshift one serves nobody.
		Name: ends, Expr: fmt.Sprintf(
			`min by (job) (max by (job, pod, cn, sans) (traefik_tls_certs_not_after{job="%s", cn!="TRAEFIK DEFAULT CERT"}))`, network.Edge),
	}}}
	for _, job := range slices.Sorted(maps.Keys(known)) {
		group.Records = append(group.Records, Record{
			Name: ends, Expr: fmt.Sprintf("vector(%d)", known[job].Unix()), Labels: map[string]string{"job": job},
		})
	}
	for _, at := range []struct {
		severity catalog.Severity
		left     time.Duration
	}{{catalog.Page, certificatePage}, {catalog.Ticket, certificateTicket}} {
		group.Alerts = append(group.Alerts, Alert{
			Name: "CertificateEnds", For: 5 * time.Minute, Severity: at.severity,
			Expr:        fmt.Sprintf("%s - time() < %d", ends, int(at.left.Seconds())),
			Summary:     "{{ $labels.job }}: the certificate ends soon",
			Description: "The certificate of {{ $labels.job }} ends in {{ $value | humanizeDuration }}. From then on nobody who checks it connects.",
		})
	}
	return group
}
