// Package plugins stands in for Prometheus' list of two dozen service discoveries, most of what Prometheus is made of: this
// one finds its targets in Kubernetes, in files and over HTTP.
package plugins

import (
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	_ "github.com/prometheus/prometheus/discovery/kubernetes"
)
