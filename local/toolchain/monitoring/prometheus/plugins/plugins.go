// Package plugins replaces Prometheus' list of two dozen service discoveries, which are most of its code. The platform's
// Prometheus finds its targets in Kubernetes, in files and over HTTP.
package plugins

import (
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	_ "github.com/prometheus/prometheus/discovery/kubernetes"
)
