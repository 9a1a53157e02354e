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
		name            string
		args            []string
		ran, out, fault string
	}{
		{"no command serves", nil, "serve", "", ""},
		{"a command", []string{"migrate"}, "migrate", "", ""},
		{"-version", []string{"-version"}, "", "a-service 0123456789ab go", ""},
		{"an unknown command", []string{"migrat"}, "", "", `unknown command "migrat": there are migrate (none: serve)`},
		{"two commands", []string{"migrate", "migrate"}, "", "", `unknown command "migrate migrate"`},
		{"an unknown flag", []string{"-v"}, "", "usage: a-service", "flag provided but not defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ran = ""
			var out strings.Builder
			err := Run(t.Context(), "a-service", commands, c.args, Process{
				Lookup: func(name string) (string, bool) { return "0123456789ab", name == "SERVICE_VERSION" },
				Stdout: &out, Stderr: &out,
			})
			if ran != c.ran || !strings.Contains(out.String(), c.out) ||
				(err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("ran %q, printed %q, %v", ran, out.String(), err)
			}
		})
	}
}
