package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestEveryRuleIsHealthy(t *testing.T) {
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	stop := make(chan struct{})
	defer close(stop)
	go api.Use(token, stop) // some metrics exist only with requests
	type rules struct {
		Groups []struct {
			Name  string
			File  string
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	kit.Eventually(t, 3*time.Minute, "every rule is evaluated", func() error {
		found, err := kit.Prometheus[rules]("rules")
		if err != nil {
			return err
		}
		count := 0
		for _, group := range found.Groups {
			for _, rule := range group.Rules {
				count++
				if rule.Health != "ok" {
					return fmt.Errorf("%s of group %s: %s %s", rule.Name, group.Name, rule.Health, rule.LastError)
				}
			}
		}
		if count < 100 {
			return fmt.Errorf("there are only %d rules", count)
		}
		return nil
	})
	watchdog, err := kit.Query(`ALERTS{alertname="Watchdog", alertstate="firing"}`)
	if err != nil || len(watchdog) != 1 {
		t.Errorf("the Watchdog alert is %v (%v)", watchdog, err)
	}
	// A rule that queries a metric without series never fires.
	found, err := kit.Prometheus[rules]("rules")
	if err != nil {
		t.Fatal(err)
	}
	ruleOf := map[string]string{} // rule by metric
	for _, group := range found.Groups {
		for _, rule := range group.Rules {
			tree, err := kit.Prometheus[any]("parse_query?query=" + escape(rule.Query))
			if err != nil {
				t.Fatalf("%s: %v", rule.Name, err)
			}
			for _, name := range selected(tree) {
				ruleOf[name] = rule.Name
			}
		}
	}
	for name := range onlyAfterwards {
		if ruleOf[name] == "" {
			t.Errorf("no rule queries %s any more", name)
		}
	}
	kit.Eventually(t, 2*time.Minute, "every queried metric has series", func() error {
		names, err := kit.Prometheus[[]string]("label/__name__/values")
		if err != nil {
			return err
		}
		var missing []error
		for name, rule := range ruleOf {
			if onlyAfterwards[name] == "" && !slices.Contains(names, name) {
				missing = append(missing, fmt.Errorf("%s queries %s", rule, name))
			}
		}
		return errors.Join(missing...)
	})
}

// onlyAfterwards maps metrics that exist only after an event to that event.
var onlyAfterwards = map[string]string{
	"notification_service_webhook_deliveries_total":    "a delivery to a webhook, which the local stack has none of",
	"kube_pod_container_status_last_terminated_reason": "the termination of a container",
	"kube_pod_container_status_waiting_reason":         "a waiting container",
	"kube_job_failed":              "a failed Job",
	"alertmanager_cluster_members": "a second Alertmanager, which the local stack doesn't have",
}

// selected returns the metrics in a query, from the tree of Prometheus' parser.
func selected(tree any) []string {
	var names []string
	switch node := tree.(type) {
	case map[string]any:
		if name, ok := node["name"].(string); ok && name != "" && (node["type"] == "vectorSelector" || node["type"] == "matrixSelector") {
			names = append(names, name)
		}
		for _, child := range node {
			names = append(names, selected(child)...)
		}
	case []any:
		for _, child := range node {
			names = append(names, selected(child)...)
		}
	}
	return names
}
