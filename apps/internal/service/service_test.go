package service

import (
	"context"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var ran string
	command := func(name string) Command {
		return func(context.Context, Process) error { ran = name; return nil }
	}
	commands := Commands{"": command("serve"), "migrate": command("migrate")}
	for _, c := range []struct {
		name       string
		args       []string
		ran, fault string
	}{
		{"no command serves", nil, "serve", ""},
		{"a command", []string{"migrate"}, "migrate", ""},
		{"an unknown command", []string{"migrat"}, "", `unknown command "migrat": use one of migrate, or none to serve`},
		{"two commands", []string{"migrate", "migrate"}, "", `unknown command "migrate migrate"`},
		{"a flag", []string{"-v"}, "", `unknown command "-v"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran = ""
			err := Run(t.Context(), commands, c.args, Process{})
			if ran != c.ran || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("ran %q, %v", ran, err)
			}
		})
	}
}
