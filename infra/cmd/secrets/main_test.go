package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"platform.example/infra/catalog"
)

// day is the unit of time of these tests.
const day = 24 * time.Hour

func TestMissingSecretsAreGenerated(t *testing.T) {
	kept := password()
	p := newProject(t, map[string]Entry{
		"platform:registry":      {Value: "localhost:5000"},
		"platform:redisPassword": {Value: kept, Secret: true},
		"platform:jwtKeys":       {Secret: true}, // nothing
	})
	output := p.mustRun()
	values := p.values()
	for _, known := range catalog.Secrets(catalog.Services(), true) {
		value := values[known.Name]
		if known.Name == catalog.RedisPassword {
			if value != kept || strings.Contains(output, known.Name) {
				t.Error("a stored secret was replaced")
			}
			continue
		}
		if value == "" || !strings.Contains(output, "generated platform:"+known.Name+"\n") {
			t.Errorf("%s: %d characters stored, announced in %q", known.Name, len(value), output)
		}
		if strings.Contains(output, value) || strings.Contains(p.calls(), value) {
			t.Errorf("the value of %s was shown", known.Name)
		}
	}
	if !strings.HasSuffix(output, "\nnow run: pulumi up --stack local\n") {
		t.Errorf("no next step in %q", output)
	}
}

func TestExistingSecretsAreKept(t *testing.T) {
	p := newProject(t, stored(complete(t, time.Now())))
	if output := p.mustRun(); strings.Count(p.calls(), "\n") != 1 || output != "" {
		t.Errorf("calls %q, output %q; want one call and silence", p.calls(), output)
	}
}

func TestFaults(t *testing.T) {
	secret := func(name, value string) map[string]Entry {
		return map[string]Entry{"platform:" + name: {Value: value, Secret: true}}
	}
	tests := []struct {
		name    string
		entries map[string]Entry
		args    []string
		want    string
	}{
		{"no stack", nil, nil, "want -stack"},
		{"an argument too many", nil, []string{"-stack", "local", "staging"}, "want -stack"},
		{"a secret in plain text", map[string]Entry{"platform:jwtKeys": {Value: "x"}}, []string{"-stack", "staging"},
			"platform:jwtKeys is stored in plain text: remove it with `pulumi config rm platform:jwtKeys --stack staging`"},
		{"a name that there is not", nil, []string{"-stack", "local", "-rotate", "redis"},
			`stack local has no secret "redis": want one of certificateAuthority, postgresAdminPassword`},
		{"a name that only another stack has", nil, []string{"-stack", "production", "-rotate", "demoUserPassword"},
			`stack production has no secret "demoUserPassword"`},
		{"a webhook without a scheme", secret(catalog.SlackWebhookURL, "hooks.slack.com/services/x"), []string{"-stack", "production"},
			"stack production: platform:slackWebhookUrl: want a URL with https:// and a host"},
		{"a webhook without TLS", secret(catalog.AlertWebhookURL, "http://alerts.example.com/x"), []string{"-stack", "production"},
			"stack production: platform:alertWebhookUrl: want a URL with https://"},
		{"a bundle that Pulumi can't hand over", map[string]Entry{"platform:postgres": {Value: strings.Repeat("x", 219_000)}},
			[]string{"-stack", "production"}, "stack production: platform:postgres: 219 KB: Pulumi can't pass more than 100 KB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			newProject(t, test.entries)
			err := run(t.Context(), test.args, &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	t.Run("an answer that is no JSON", func(t *testing.T) {
		p := newProject(t, nil)
		p.write(Configuration, "oops")
		if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "read the configuration of stack local") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the command line's own words", func(t *testing.T) {
		p := newProject(t, nil)
		p.write(Failure, "error: no stack named 'local' found")
		if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "no stack named 'local' found") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another folder than the project's", func(t *testing.T) {
		p := newProject(t, nil)
		t.Chdir(t.TempDir())
		if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "run this from the repository's root") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAuthorityReminder(t *testing.T) {
	now := time.Now()
	values := complete(t, now.Add(-9*365*day))
	p := newProject(t, stored(values))
	end := now.Add(365 * day).UTC().Format(time.DateOnly)
	want := "platform:certificateAuthority expires on " + end + ": rotate it with `make secrets STACK=local ROTATE=certificateAuthority`\n"
	if output := p.mustRun(); output != want {
		t.Errorf("got %q, want %q", output, want)
	}
}

func TestRotationChangesOneSecret(t *testing.T) {
	values := complete(t, time.Now())
	for name, want := range map[string]string{
		catalog.RedisPassword:      "accepted until the next rotation: if it has leaked, rotate again after the update",
		"jwtKeys":                  "this is the first of three rotations",
		catalog.DemoUserPassword:   "The former value is not accepted after the update",
		"userServiceCachePassword": "accepted until the next rotation",
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, stored(values))
			p.update()
			before := p.values()
			output := p.mustRun("-rotate", name)
			if !strings.HasPrefix(output, "rotated platform:"+name+"\nnow run: pulumi up --stack local\n") || !strings.Contains(output, want) {
				t.Errorf("got %q, want %q", output, want)
			}
			after := p.values()
			if after[name] == before[name] {
				t.Error("it is as before")
			}
			if value := after[name]; strings.Contains(output, value) || strings.Contains(p.calls(), value) {
				t.Error("the value was shown")
			}
			delete(before, name)
			delete(after, name)
			if !maps.Equal(before, after) {
				t.Error("another one is changed")
			}
		})
	}
}

func TestInterruptedRunIsCompleted(t *testing.T) {
	p := newProject(t, nil)
	p.write(Stores, "3")
	if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Fatalf("got %v", err)
	}
	before := p.values()
	p.remove(Stores)
	p.mustRun()
	after := p.values()
	if len(before) != 3 || len(after) != len(catalog.Secrets(catalog.Services(), true)) {
		t.Errorf("%d secrets, then %d", len(before), len(after))
	}
	for name, value := range before {
		if after[name] != value {
			t.Errorf("%s was made twice", name)
		}
	}
}

func TestRotationKeepsTheValueInUse(t *testing.T) {
	values := complete(t, time.Now())
	t.Run("twice without an update between", func(t *testing.T) {
		p := newProject(t, stored(values))
		p.update()
		p.mustRun("-rotate", "redisPassword")
		before := p.values()
		_, err := p.run("-rotate", "redisPassword")
		if err == nil || !strings.Contains(err.Error(), "doesn't use the stored redisPassword yet: run `pulumi up --stack local`") {
			t.Errorf("got %v", err)
		}
		if !maps.Equal(before, p.values()) {
			t.Error("it is changed all the same")
		}
		p.mustRun("-rotate", "streamPassword") // another one may
		p.update()
		p.mustRun("-rotate", "redisPassword")
	})
	t.Run("before a stack has told what it runs with", func(t *testing.T) {
		p := newProject(t, stored(values))
		p.write(Outputs, `{"gatewayUrl":"http://localhost:30080"}`)
		if _, err := p.run("-rotate", "redisPassword"); err == nil || !strings.Contains(err.Error(), "before a rotation") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("of a stack that was never up", func(t *testing.T) {
		p := newProject(t, stored(values))
		p.mustRun("-rotate", "redisPassword")
		p.mustRun("-rotate", "redisPassword")
	})
	for _, name := range []string{"jwtKeys", catalog.Authority} {
		t.Run("with a value of an earlier version of "+name, func(t *testing.T) {
			old := maps.Clone(values)
			old[name] = parts(t, find(t, name), old[name])[0]
			p := newProject(t, stored(old))
			p.update()
			output := p.mustRun("-rotate", name)
			if now := parts(t, find(t, name), p.values()[name]); len(now) != 2 || now[0] != old[name] {
				t.Errorf("%d values, or another one in use", len(now))
			}
			if !strings.Contains(output, "isn't used yet: rotate again after the update") || strings.Contains(output, "renewed") {
				t.Errorf("got %q", output)
			}
			p.update()
			if output := p.mustRun("-rotate", name); strings.Contains(output, "used yet") {
				t.Errorf("the second time got %q", output)
			}
		})
	}
}

func TestInvalidValueIsReplaced(t *testing.T) {
	values := complete(t, time.Now())
	for name, wrong := range map[string]string{
		"jwtKeys": "no-colon", catalog.RedisPassword: "short", catalog.Authority: "oops",
	} {
		t.Run(name, func(t *testing.T) {
			broken := maps.Clone(values)
			broken[name] = wrong
			p := newProject(t, stored(broken))
			p.write(Outputs, `{"secretVersions":{"`+name+`":"01234567"}}`) // of the value that it had
			output := p.mustRun("-rotate", name)
			if strings.Contains(p.values()[name], wrong) || !strings.Contains(output, "replaced platform:"+name+"\n") {
				t.Errorf("got %q", output)
			}
			if again := p.mustRun(); again != "" {
				t.Errorf("something is left to do: %q", again)
			}
		})
	}
}

func TestOneRunAtATime(t *testing.T) {
	p := newProject(t, nil)
	p.write(Held, "")
	first := make(chan error)
	go func() { first <- run(t.Context(), []string{"-stack", "local"}, &strings.Builder{}) }()
	p.await(Started)
	if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "another run is changing the secrets of this project") {
		t.Errorf("the second run: %v", err)
	}
	p.remove(Held)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if output := p.mustRun(); output != "" {
		t.Errorf("the first run left something to do: %q", output)
	}
}

func TestInterruptWaitsForPulumi(t *testing.T) {
	p := newProject(t, nil)
	p.write(Held, "")
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx, []string{"-stack", "local"}, &strings.Builder{}) }()
	p.await(Started)
	interrupt()
	p.remove(Held)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if names := slices.Collect(maps.Keys(p.values())); !slices.Equal(names, []string{catalog.Authority}) {
		t.Errorf("stored are %v, want the one that was under way", names)
	}
}

// await waits for a file.
func (p project) await(name string) {
	p.t.Helper()
	if err := Poll(func() bool { return p.Has(name) }); err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
}

func TestWebhookInItsNetworkMayUseHTTP(t *testing.T) {
	entries := stored(complete(t, time.Now()))
	entries["platform:alertWebhookUrl"] = Entry{Value: "http://192.0.2.7/alerts", Secret: true}
	entries["platform:monitoring"] = Entry{Value: `{"webhookNetwork":"192.0.2.0/24"}`}
	newProject(t, entries).mustRun()
}

func TestSecretsDependOnTheEnvironment(t *testing.T) {
	p := newProject(t, map[string]Entry{"platform:environment": {Value: "local"}})
	if output, err := p.run("-stack", "dev"); err != nil || !strings.Contains(output, "generated platform:"+catalog.DemoUserPassword+"\n") {
		t.Errorf("%s, %v", output, err)
	}
}
