package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func escape(text string) string { return url.QueryEscape(text) }

// dashboards runs make dashboard until the test ends, and returns the addresses that it tells, by what is there.
func dashboards(t *testing.T) map[string]string {
	t.Helper()
	command := exec.Command("make", "-s", "dashboard")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Stderr = os.Stderr
	printed, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	addresses := map[string]string{}
	told := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(printed)
		for lines.Scan() {
			if found := regexp.MustCompile(`^(http://127\.0\.0\.1:\d+) +(\w+)`).FindStringSubmatch(lines.Text()); found != nil {
				addresses[strings.ToLower(found[2])] = found[1]
			}
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				told <- nil
				_, _ = io.Copy(io.Discard, printed)
				return
			}
		}
		told <- errors.New("it ends before it says that Ctrl-C ends it")
	}()
	t.Cleanup(func() {
		if err := syscall.Kill(-command.Process.Pid, syscall.SIGINT); err != nil { // as Ctrl-C does
			t.Error(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- command.Wait() }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("Ctrl-C doesn't end it")
			_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		}
		for what, address := range addresses {
			if response, err := http.Get(address); err == nil {
				_ = response.Body.Close()
				t.Errorf("%s still answers at %s", what, address)
			}
		}
	})
	select {
	case err := <-told:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(commandLimit):
		t.Fatal("make dashboard says nothing")
	}
	return addresses
}

// read is what an address answers, as JSON.
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

// quiet is the panels that show nothing as long as all is well, and what they wait for.
var quiet = map[string]string{
	"Platform: Alerts":                           "an alert",
	"Cost: Standby colours":                      "a standby colour",
	"api-gateway: Errors by service":             "an answer 5xx",
	"user-service: Errors by endpoint":           "an answer 5xx",
	"order-service: Errors by endpoint":          "an answer 5xx",
	"notification-service: Errors by endpoint":   "an answer 5xx",
	"notification-service: Deliveries":           "a webhook",
	"notification-service: Pending deliveries":   "a webhook",
}

func TestEveryPanelShowsSomething(t *testing.T) {
	at := dashboards(t)
	for _, what := range []string{"prometheus", "alertmanager", "dashboards"} {
		if at[what] == "" {
			t.Fatalf("make dashboard doesn't lead to %s, but to %v", what, at)
		}
	}
	if _, err := read[any](at["prometheus"] + "/api/v1/status/buildinfo"); err != nil {
		t.Error(err)
	}
	if _, err := read[any](at["alertmanager"] + "/api/v2/status"); err != nil {
		t.Error(err)
	}
	api := gateway()
	token := api.mustSignIn(t, api.signUp(t))
	stop := make(chan struct{})
	defer close(stop)
	go api.use(token, stop)

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
	if want := len(serviceNames()) + 4; len(list.Dashboards) != want {
		t.Errorf("there are %d dashboards, want %d", len(list.Dashboards), want)
	}
	type result struct {
		Data struct{ Result []struct{} }
	}
	// Each variable has the value that chooses everything, and each price is 1.
	variables := strings.NewReplacer("$__rate_interval", "1m", "$service", ".*", "$colour", ".*", "$database", ".*",
		"$core", "1", "$gib", "1", "$volume", "1")
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
	wanting := map[string][]target{} // the queries of each panel that has shown nothing yet, by its name
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
			t.Errorf("there is no panel %s any more", name)
		}
	}
	eventually(t, 3*time.Minute, "every panel shows something", func() error {
		var faults []error
		for name, targets := range wanting {
			series, err := shows(targets)
			if err == nil && series == 0 && quiet[name] == "" {
				err = errors.New("it shows nothing")
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

// use is somebody at work, who orders, looks and mistypes.
func (c client) use(token string, stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		_, _ = c.order(token, fmt.Sprintf("dashboards-%d", n))
		_, _ = c.inbox(token)
		_, _ = c.call(http.MethodGet, "/api/users/me", token, nil)
		_, _ = c.call(http.MethodGet, "/api/orders/nothing", token, nil)
	}
}
