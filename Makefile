# Every target is also what CI runs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
# The release of Go that go.mod names, whatever the machine has.
export GOTOOLCHAIN := auto

MODULES := apps infra local test infra/cmd/dashboards/browsertest
LOCAL := bin/local $(if $(CONTEXT),-context '$(CONTEXT)') $(if $(REGISTRY),-registry '$(REGISTRY)')
STACKS = $(sort local $(patsubst Pulumi.%.yaml,%,$(wildcard Pulumi.*.yaml)))
NEEDS_STACK = [ -n '$(STACK)' ] || { echo 'error: STACK is missing: make $@ STACK=<$(subst $(eval) ,|,$(STACKS))>' >&2; exit 1; }
CHECKS := local/toolchain/manifest-checks
MANIFESTS := $(CURDIR)/.build/manifests
LINT := GOWORK=off go tool -modfile=$(CURDIR)/local/toolchain/golangci-lint/go.mod golangci-lint

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The platform

.PHONY: bin/local
bin/local:
	@[ "$$(uname -s)" = Linux ] || { echo "error: this is $$(uname -s): the local platform needs Linux on amd64, a virtual machine will do" >&2; exit 1; }
	@command -v go >/dev/null || { echo 'error: no go on PATH: install Go 1.26 or later (go.dev/dl)' >&2; exit 1; }
	@[ -x bin/local ] || echo 'compiling the local command'
	@cd local && GOWORK=off go build -o ../bin/local .

.PHONY: up
up: bin/local ## Bring everything up on this machine, or on CONTEXT=<kube context> REGISTRY=<registry>
	@$(LOCAL) up

.PHONY: stop
stop: bin/local ## Stop everything and keep its data
	@$(LOCAL) stop

.PHONY: down
down: bin/local ## Take everything away, data included
	@$(LOCAL) down

.PHONY: status
status: bin/local ## Show each component's health, the stack and the URLs
	@$(LOCAL) status

.PHONY: logs
logs: bin/local ## Show the end of the log of C=<component>; FOLLOW=1 goes on
	@$(LOCAL) logs $(if $(FOLLOW),-f) '$(C)'

.PHONY: env
env: bin/local ## Print what makes a shell use this platform: eval "$(make -s env)"
	@$(LOCAL) env

.PHONY: token
token: bin/local ## Sign in as the demo user and print the token
	@$(LOCAL) token

.PHONY: dashboard
dashboard: bin/local ## Lead to Grafana, Prometheus and Alertmanager, or draw the dashboards, until Ctrl-C
	@cd infra && GOWORK=off go build -o ../bin/dashboards ./cmd/dashboards
	@eval "$$($(LOCAL) env)" && exec bin/dashboards -context '$(CONTEXT)'

.PHONY: secrets
secrets: ## Generate the secrets that STACK=<stack> lacks; ROTATE=<name> changes one
	@$(NEEDS_STACK)
	@cd infra && GOWORK=off go build -o ../bin/secrets ./cmd/secrets
	@bin/secrets -stack '$(STACK)' $(if $(ROTATE),-rotate '$(ROTATE)')

## Releases. STACK is local unless it is given; JSON=1 prints one object a line

RELEASE = $(if $(filter local,$(or $(STACK),local)),eval "$$($(LOCAL) env)" && )exec bin/release -stack '$(or $(STACK),local)' \
	$(if $(JSON),-json) $(if $(TAKEOVER),-takeover) $(if $(WATCH),-watch '$(WATCH)') $(if $(UNWATCHED),-unwatched)

.PHONY: bin/release
bin/release: bin/local
	@cd infra && GOWORK=off go build -o ../bin/release ./cmd/release

.PHONY: release
release: bin/release ## Release what the sources have, or V=<version or number>, and watch it for WATCH=<time>
	@$(RELEASE) up $(if $(V),-version '$(V)')

.PHONY: promote
promote: bin/release ## Release on STACK=production what staging has tested
	@$(RELEASE) promote

.PHONY: rollback
rollback: ## Give the traffic back to what stands by, at once; SERVICE=<name> alone
	@[ -x bin/release ] && [ -x bin/local ] || $(MAKE) bin/release
	@$(RELEASE) rollback $(if $(SERVICE),-service '$(SERVICE)')

.PHONY: releases
releases: bin/release ## Show what is live, what stands by, and the last releases
	@$(RELEASE) history

.PHONY: retire
retire: bin/release ## Take away what stands by
	@$(RELEASE) retire

.PHONY: drift
drift: bin/release ## Compare STACK's cluster with what the last update left there; fails where something differs
	@$(RELEASE) drift

.PHONY: repair
repair: bin/release ## Restore what drift reports; ADOPT=1 takes what is selected for live
	@$(RELEASE) repair $(if $(ADOPT),-adopt)

.PHONY: release-demo
release-demo: bin/release ## Release and take back another version of all services under load; RATE=<requests a second> ROLLBACKS=1
	@cd test && GOWORK=off go build -o ../bin/release-demo ./cmd/release-demo
	@eval "$$($(LOCAL) env)" && exec bin/release-demo $(if $(RATE),-rate $(RATE)) -rollbacks $(or $(ROLLBACKS),1)

.PHONY: render
render: ## Write what STACK=<stack> would create to .build/manifests/<stack>, for reading; needs no cluster
	@$(NEEDS_STACK)
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@bin/infra render '$(STACK)'

.PHONY: profile
profile: $(if $(filter local,$(or $(STACK),local)),bin/local) ## Show what is known of the cluster of STACK=<stack>, and what will be missing there
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@$(if $(filter local,$(or $(STACK),local)),eval "$$(bin/local env)" && )bin/infra profile '$(or $(STACK),local)'

.PHONY: check
check: ## Check the manifests of all stacks: kube-score, Pod Security
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@for stack in local staging production; do bin/infra render $$stack; done
	@bin/infra render everything infra/testdata/Pulumi.everything.yaml
	@echo 'kube-score and Pod Security: the first time, both are fetched and compiled'
	@cd $(CHECKS) && GOWORK=off go tool kube-score score --exit-one-on-warning --kubernetes-version v1.34 --output-format ci \
		$$(sed -n 's/^\([a-z][a-z-]*\) *#.*/--ignore-test \1/p' kube-score.ignore) $$(find $(MANIFESTS) -name '*.yaml') >kube-score.out \
		|| { grep -v '^\[\(OK\|SKIPPED\)\]' kube-score.out >&2; exit 1; }; rm kube-score.out; echo 'kube-score: nothing to say'
	@cd $(CHECKS)/podsecurity && GOWORK=off go run . $(MANIFESTS)

## The code

.PHONY: fmt
fmt: ## Format the Go code
	@gofmt -w apps infra local test

.PHONY: lint
lint: vet ## Check formatting, vet and lint
	@for module in $(MODULES); do (cd $$module && $(LINT) run --config $(CURDIR)/.golangci.yml ./...); done

# Puts programs that the tests need on PATH.
WITH = PATH="$$(bin/local tool $(1) | xargs -n1 dirname | paste -sd:):$$PATH"

.PHONY: vulns
vulns: ## Report known vulnerabilities that the code can reach, of all modules or IN=<modules>
	@local/toolchain/vulns/scan $(or $(IN),apps infra local test)

.PHONY: unit
unit: bin/local ## Run the unit tests
	@bin/local install postgresql-15 redis-server # the services' tests start their own
	@$(call WITH,promtool amtool); for module in apps infra local; do (cd $$module && GOWORK=off go test -skip '^TestPerformance' ./...); done
	@cd test && GOWORK=off go test ./load/... ./variant/... ./cmd/...

.PHONY: race
race: bin/local ## Run the unit tests under the race detector, for which the SDK is compiled once more
	@bin/local install postgresql-15 redis-server
	@$(call WITH,promtool amtool); for module in apps infra local; do (cd $$module && GOWORK=off go test -race ./...); done

.PHONY: browser
browser: bin/local ## Look at the dashboards in a real browser, over a Prometheus with made-up measurements
	@bin/local install chromium
	@$(call WITH,prometheus promtool); cd infra/cmd/dashboards/browsertest && GOWORK=off go test -count=1 ./...

.PHONY: bench
bench: bin/local ## Measure the services against their peers, and hold them to it
	@bin/local install postgresql-15 redis-server nginx-light wrk
	@cd apps && GOWORK=off go test -count=1 -run '^TestPerformance' -v \
		$$(grep -rl --include='*_test.go' '^func TestPerformance' . | xargs -n1 dirname | sort -u)

.PHONY: e2e
e2e: bin/local ## Test the running platform end to end, all but its releases
	@cd test && GOWORK=off go test -count=1 -timeout 45m -skip '^TestRelease' ./e2e/...

.PHONY: release-test
release-test: bin/release ## Test releases on the running platform under load: good and bad ones, killed ones, in troubles; SHORT=1 one of each, RATE=<requests a second>
	@cd test && RATE='$(RATE)' GOWORK=off go test -count=1 -timeout 90m -v $(if $(SHORT),-short) -run '^TestRelease' ./e2e/...

.PHONY: scale
scale: bin/local ## Measure previews of 4, 20 and 40 services on the running platform
	@cd test && GOWORK=off go test -count=1 -timeout 30m -v ./scale/...

.PHONY: lifecycle
lifecycle: bin/local ## Test stop, interruption, take-over and removal; begins and ends with nothing up, so data is lost
	@cd test && GOWORK=off go test -count=1 -timeout 30m -v ./lifecycle/...

.PHONY: promotion-test
promotion-test: bin/local ## Test the way from staging to production, on two clusters on this machine; begins and ends with nothing up
	@bin/local install openssl socat
	@cd test && GOWORK=off go test -count=1 -timeout 60m -v ./promotion/...

.PHONY: vet
vet: ## Check formatting and vet
	@unformatted=$$(gofmt -l apps infra local test); if [ -n "$$unformatted" ]; then echo "error: not formatted, run make fmt: $$unformatted" >&2; exit 1; fi
	@for module in $(MODULES); do (cd $$module && GOWORK=off go vet ./...); done

# What shows on the running platform that it works, and waits for nothing that takes a slow machine long.
SMOKE := DemoUser|WhoMaySignIn|AToken|AUserReachesNoOther|AUserIsRead|FromAnOrder|StackTells|PulumiFinds|ImagesAreSmall|Status|MakeAlone|LogsOf

.PHONY: smoke
smoke: bin/release ## Test the running platform in a few minutes: sign-in, orders, images, outputs, commands
	@cd test && GOWORK=off go test -count=1 -timeout 20m -v -run '^Test(The|A|An)?($(SMOKE))' ./e2e/...

.PHONY: test
test: ## Test a change: formatting, vet, unit tests, manifests, and the platform for real (takes the platform away)
	@$(MAKE) vet
	@$(MAKE) unit
	@$(MAKE) check
	@$(MAKE) up
	@$(MAKE) smoke
	@$(MAKE) down

.PHONY: test-all
test-all: ## Run all tests: those of a change, benchmarks, lint, races, browser, end to end, releases, lifecycle; takes two hours and more
	@$(MAKE) unit
	@$(MAKE) bench
	@$(MAKE) up
	@$(MAKE) --jobs=2 --output-sync=target e2e lint check browser race # the first mostly waits, the others compute
	@$(MAKE) release-test # at a rate that needs the machine
	@$(MAKE) lifecycle
	@$(MAKE) promotion-test
