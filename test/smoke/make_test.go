package smoke

import (
	"regexp"
	"strings"
	"testing"

	"platform.example/test/kit"
)

func TestStatusShowsEveryComponentHealthy(t *testing.T) {
	components, err := kit.Status()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range kit.ComponentNames() {
		if _, listed := components[name]; !listed {
			t.Errorf("%s is not listed", name)
		}
	}
	for name, is := range components {
		if is.Health != "healthy" || is.PID == 0 {
			t.Errorf("%s is %q (process %d), want healthy", name, is.Health, is.PID)
		}
	}
}

func TestStatusShowsTheStackAndTheURL(t *testing.T) {
	printed := kit.Output(t, "make", "-s", "status")
	for _, want := range []string{
		"stack local", "api-gateway", "user-service", "order-service", "notification-service",
		"postgres", "redis-cache", "redis-stream", "edge", kit.Gateway().Base,
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("make status doesn't print %q", want)
		}
	}
}

func TestMakeListsTheTargets(t *testing.T) {
	printed := kit.Output(t, "make")
	for _, target := range []string{"up", "stop", "down", "status", "logs", "env", "token", "help"} {
		described := regexp.MustCompile(`(?m)^\s*make ` + target + `\s+\S+`)
		if !described.MatchString(printed) {
			t.Errorf("make doesn't list %s with a description", target)
		}
	}
}

func TestLogsOfAnUnknownComponentListsTheComponents(t *testing.T) {
	_, err := kit.Run("make", "-s", "logs", "C=kublet")
	if err == nil {
		t.Fatal("make logs C=kublet succeeds")
	}
	for _, want := range append(kit.ComponentNames(), `"kublet"`) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error doesn't name %s: %v", want, err)
		}
	}
}
