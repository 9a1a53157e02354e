package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

func escape(text string) string { return url.QueryEscape(text) }

// dashboards runs make dashboard until the test ends, and returns the printed addresses by name.
func dashboards(t *testing.T) map[string]string {
	t.Helper()
	command := exec.Command("make", "-s", "dashboard")
	command.Stderr = os.Stderr
	running := kit.Start(t, command)
	addresses := map[string]string{}
	t.Cleanup(func() {
		if err := running.Stop(syscall.SIGINT, 20*time.Second); err != nil { // like Ctrl-C
			t.Error(err)
		}
		for what, address := range addresses {
			if response, err := http.Get(address); err == nil {
				_ = response.Body.Close()
				t.Errorf("%s still responds at %s", what, address)
			}
		}
	})
	if err := running.WaitFor(kit.CommandLimit, "\nCtrl-C"); err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`(?m)^(http://127\.0\.0\.1:\d+) +(\w+)`).FindAllStringSubmatch(running.Printed(), -1) {
		addresses[strings.ToLower(found[2])] = found[1]
	}
	return addresses
}

// read returns the JSON response of an address.
func read[T any](address string) (T, error) {
	var content T
	client := http.Client{Timeout: 30 * time.Second}
	response, err := client.Get(address)
	if err != nil {
		return content, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return content, fmt.Errorf("%s: %s", address, response.Status)
	}
	return content, json.NewDecoder(response.Body).Decode(&content)
}

// quiet maps the panels without data on a healthy platform to the event that gives them data.
var quiet = map[string]string{
	"Platform: Alerts":                 "an alert",
	"Cost: Standby colours":            "a standby colour",
	"notification-service: Deliveries": "a webhook",
}

func TestEveryPanelHasData(t *testing.T) {
	at := dashboards(t)
	for _, what := range []string{"prometheus", "alertmanager", "dashboards"} {
		if at[what] == "" {
			t.Fatalf("make dashboard prints no address of %s, only %v", what, at)
		}
	}
	if _, err := read[any](at["prometheus"] + "/api/v1/status/buildinfo"); err != nil {
		t.Error(err)
	}
	if _, err := read[any](at["alertmanager"] + "/api/v2/status"); err != nil {
		t.Error(err)
	}
	api := kit.Gateway()
	token := api.MustSignIn(t, api.SignUp(t))
	stop := make(chan struct{})
	defer close(stop)
	go api.Use(token, stop)

	type target struct {
		Expr    string
		Instant bool
	}
	type board struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []target
		}
	}
	list, err := read[struct{ Dashboards []struct{ UID string } }](at["dashboards"] + "/api/dashboards")
	if err != nil {
		t.Fatal(err)
	}
	if want := len(kit.ServiceNames()) + 7; len(list.Dashboards) != want {
		t.Errorf("there are %d dashboards, want %d", len(list.Dashboards), want)
	}
	type result struct {
		Data struct{ Result []struct{} }
	}
	// Each variable has the value for all, and each price is 1.
	variables := strings.NewReplacer("$__rate_interval", "1m", "$service", ".*", "$colour", ".*", "$database", ".*",
		"$core", "1", "$gib", "1")
	shows := func(targets []target) (int, error) {
		series := 0
		for _, each := range targets {
			now := time.Now().Unix()
			expr := variables.Replace(each.Expr)
			address := fmt.Sprintf("%s/api/v1/query_range?query=%s&start=%d&end=%d&step=15", at["dashboards"], escape(expr), now-15*60, now)
			if each.Instant {
				address = fmt.Sprintf("%s/api/v1/query?query=%s&time=%d", at["dashboards"], escape(expr), now)
			}
			found, err := read[result](address)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", expr, err)
			}
			series += len(found.Data.Result)
		}
		return series, nil
	}
	wanting := map[string][]target{} // queries of the panels without data so far, by panel
	for _, entry := range list.Dashboards {
		whole, err := read[board](at["dashboards"] + "/api/dashboards/" + entry.UID)
		if err != nil {
			t.Fatal(err)
		}
		for _, panel := range whole.Panels {
			if len(panel.Targets) > 0 {
				wanting[whole.Title+": "+panel.Title] = panel.Targets
			}
		}
	}
	t.Logf("%d panels", len(wanting))
	for name := range quiet {
		if wanting[name] == nil {
			t.Errorf("panel %s doesn't exist any more", name)
		}
	}
	kit.Eventually(t, 3*time.Minute, "every panel has data", func() error {
		var faults []error
		for name, targets := range wanting {
			series, err := shows(targets)
			if err == nil && series == 0 && quiet[name] == "" {
				err = errors.New("no data")
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", name, err))
				continue
			}
			delete(wanting, name)
		}
		return errors.Join(faults...)
	})
}
