# `make` alone lists the targets. The workflows in .github only run targets of this file.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
# Use the Go release that go.mod names, not the one of the machine.
export GOTOOLCHAIN := auto

MODULES := apps infra local test infra/monitoring/page/browsertest
LOCAL := bin/local $(if $(CONTEXT),-context '$(CONTEXT)') $(if $(REGISTRY),-registry '$(REGISTRY)') $(if $(IPV6),-ipv6) $(if $(NODES),-nodes '$(NODES)')
STACKS = $(sort local $(patsubst Pulumi.%.yaml,%,$(wildcard Pulumi.*.yaml)))
NEEDS_STACK = [ -n '$(STACK)' ] || { echo 'error: STACK is missing: make $@ STACK=<$(subst $(eval) ,|,$(STACKS))>' >&2; exit 1; }
CHECKS := local/toolchain/manifest-checks
API_CHECKS := local/toolchain/api-checks
MANIFESTS := $(CURDIR)/.build/manifests
API := $(CURDIR)/apps/api-gateway/internal/docs/openapi.json
LINT := GOWORK=off go tool -modfile=$(CURDIR)/local/toolchain/golangci-lint/go.mod golangci-lint

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## The platform

.PHONY: bin/local
bin/local:
	@[ "$$(uname -s)" = Linux ] || { echo "error: this is $$(uname -s): the local platform needs Linux on amd64; a virtual machine works" >&2; exit 1; }
	@command -v go >/dev/null || { echo 'error: no go on PATH: install Go 1.26 or later (go.dev/dl)' >&2; exit 1; }
	@[ -x bin/local ] || echo 'compiling the local command' >&2
	@cd local && GOWORK=off go build -o ../bin/local .

.PHONY: up
up: bin/local ## Start the platform on this machine (NODES=3: three nodes in zones; IPV6=1: dual stack), or deploy it to CONTEXT=<kube context> REGISTRY=<registry>
	@$(LOCAL) up

.PHONY: stop
stop: bin/local ## Stop the platform and keep its data
	@$(LOCAL) stop

.PHONY: down
down: bin/local ## Delete the platform, including its data
	@$(LOCAL) down

.PHONY: node-kill
node-kill: bin/local ## End local node N=<number> at once, like a power failure
	@$(LOCAL) node-kill '$(N)'

.PHONY: node-drain
node-drain: bin/local ## Evict the pods of local node N=<number>
	@$(LOCAL) node-drain '$(N)'

.PHONY: node-start
node-start: bin/local ## Start local node N=<number> again after node-kill or node-drain
	@$(LOCAL) node-start '$(N)'

.PHONY: status
status: bin/local ## Show the health of each component, the stack and the URLs
	@$(LOCAL) status

.PHONY: logs
logs: bin/local ## Show the latest log lines of C=<component>; FOLLOW=1 follows the log
	@$(LOCAL) logs $(if $(FOLLOW),-f) '$(C)'

.PHONY: env
env: bin/local ## Print the environment for pulumi and kubectl: eval "$(make -s env)"
	@$(LOCAL) env

.PHONY: pin
pin: ## Renew the pinned checksums of the tools' official releases; needs the internet
	@local/toolchain/pin local/toolchain/releases.txt

.PHONY: token
token: bin/local ## Sign in as the demo user and print the token
	@$(LOCAL) token

.PHONY: emails
emails: bin/local ## Show the last emails, which a local platform stores instead of sending
	@$(LOCAL_ENV) for pod in $$(kubectl get pods -n apps -l app.kubernetes.io/name=notification-service -o name); do \
		kubectl get --raw "/api/v1/namespaces/apps/pods/$${pod#pod/}:9090/proxy/mails" 2>/dev/null || true; done

.PHONY: dashboard
dashboard: bin/local ## Forward the dashboards, Prometheus and Alertmanager to this machine until Ctrl-C
	@cd infra && GOWORK=off go build -o ../bin/dashboards ./cmd/dashboards
	@$(LOCAL_ENV) exec bin/dashboards -context '$(CONTEXT)'

LOCAL_ENV = environment=$$($(LOCAL) env) && eval "$$environment" &&
# The command of the stack local, and its environment, if STACK is local or empty.
IF_LOCAL = $(if $(filter local,$(or $(STACK),local)),bin/local)
IN_LOCAL = $(if $(IF_LOCAL),$(LOCAL_ENV) )

# The stack's namespace of monitoring, and amtool in a pod of Alertmanager.
OF_STACK = pulumi config get platform:$(1) --stack '$(or $(STACK),local)' 2>/dev/null || true
AMTOOL = kubectl exec --kubeconfig "$$($(call OF_STACK,kubeconfig))" --context "$$($(call OF_STACK,kubeContext))" --namespace "$$($(call OF_STACK,namespacePrefix))monitoring" \
	statefulset/alertmanager -- /bin/amtool --alertmanager.url=http://127.0.0.1:9093

.PHONY: silence
silence: $(IF_LOCAL) ## Silence ALERT=<name> of STACK for FOR=<time>, such as 2h, of one JOB=<job>; COMMENT=<reason>; EXPIRE=<id> ends a silence
	@[ -n '$(EXPIRE)' ] || [ -n '$(ALERT)' -a -n '$(FOR)' ] || { echo 'error: make silence ALERT=<name> FOR=<time>, such as 2h, or make silence EXPIRE=<id>' >&2; exit 1; }
	@$(IN_LOCAL)$(AMTOOL) silence $(if $(EXPIRE),expire '$(EXPIRE)',\
		add 'alertname=$(ALERT)' $(if $(JOB),'job=$(JOB)') --duration='$(FOR)' --author="$${USER:-unknown}" --comment='$(subst ','\'',$(or $(value COMMENT),none given))')

.PHONY: secrets
secrets: ## Generate the missing secrets of STACK=<stack>; ROTATE=<name> rotates one
	@$(NEEDS_STACK)
	@cd infra && GOWORK=off go build -o ../bin/secrets ./cmd/secrets
	@bin/secrets -stack '$(STACK)' $(if $(ROTATE),-rotate '$(ROTATE)')

## Releases. STACK defaults to local; JSON=1 prints one object per line

RELEASE = $(IN_LOCAL)exec bin/release -stack '$(or $(STACK),local)' \
	$(if $(JSON),-json) $(if $(TAKEOVER),-takeover) $(if $(WATCH),-watch '$(WATCH)') $(if $(UNWATCHED),-unwatched)

.PHONY: bin/release
bin/release: bin/local
	@cd infra && GOWORK=off go build -o ../bin/release ./cmd/release

.PHONY: release
release: bin/release ## Release the version of the sources, or V=<version or number>, and watch it for WATCH=<time>
	@$(RELEASE) up $(if $(V),-version '$(V)')

.PHONY: promote
promote: bin/release ## Release the versions that staging tested last, or at COMMIT=<hash>, to STACK=production
	@$(RELEASE) promote $(if $(COMMIT),-commit '$(COMMIT)')

.PHONY: tested
tested: bin/release ## Record that the live versions of STACK passed their tests at COMMIT=<hash> (default: HEAD), so that promote takes them
	@$(RELEASE) tested -commit '$(or $(COMMIT),$(shell git rev-parse HEAD))'

.PHONY: rollback
rollback: ## Roll back to the standby version at once; SERVICE=<name> rolls back one service, SINCE=<time> only a release since then
	@[ -x bin/release ] && [ -x bin/local ] || $(MAKE) bin/release
	@$(RELEASE) rollback $(if $(SERVICE),-service '$(SERVICE)') $(if $(SINCE),-since '$(SINCE)')

.PHONY: releases
releases: bin/release ## Show the live and standby versions and the latest releases
	@$(RELEASE) history

.PHONY: retire
retire: bin/release ## Delete the standby versions
	@$(RELEASE) retire

.PHONY: drift
drift: bin/release ## Compare the cluster of STACK with its last update; fails if they differ
	@$(RELEASE) drift

.PHONY: repair
repair: bin/release ## Restore the differences that drift reports; ADOPT=1 keeps the colour that the Service selects
	@$(RELEASE) repair $(if $(ADOPT),-adopt)

.PHONY: admin
admin: bin/release ## Give the role of an admin to the user with EMAIL=<email>
	@ADMIN_EMAIL='$(subst ','\'',$(value EMAIL))'; $(RELEASE) admin -email "$$ADMIN_EMAIL"

.PHONY: redrive
redrive: bin/release ## Return dead letters to their streams, and deliver abandoned webhooks again
	@$(RELEASE) redrive

## Data of STACK, which defaults to local

OF_DATA = $(IN_LOCAL)infra/data/operations/restore '$(or $(STACK),local)'

.PHONY: backup
backup: $(IF_LOCAL) ## Back up Postgres of STACK now, besides the nightly backups and the archive of its WAL
	@$(OF_DATA) backup

.PHONY: restore
restore: $(IF_LOCAL) ## Restore Postgres of STACK to the time AT='2026-11-28 14:03:00' (UTC; default: now) beside the live one, compare, and switch after a CONFIRM=yes
	@$(OF_DATA) restore '$(AT)' '$(CONFIRM)'

.PHONY: restore-drill
restore-drill: $(IF_LOCAL) ## Restore Postgres of STACK into a copy, compare, delete the copy, and record the figures in docs/recovery.md
	@$(OF_DATA) restore '$(AT)' drill

.PHONY: restore-forget
restore-forget: $(IF_LOCAL) ## Delete the Postgres cluster that doesn't serve: a restored one, or the former one with its volumes
	@$(OF_DATA) forget

.PHONY: data-switchover
data-switchover: $(IF_LOCAL) ## Move the primary of Postgres of STACK to the standby with the least lag, such as before work on the primary's node
	@$(IN_LOCAL)infra/data/operations/switchover '$(or $(STACK),local)'

.PHONY: postgres-upgrade
postgres-upgrade: $(IF_LOCAL) ## Upgrade Postgres of STACK in place to the major version TO=17, after a backup; requests that need it get 503 meanwhile
	@$(IN_LOCAL)infra/data/operations/upgrade '$(or $(STACK),local)' '$(TO)' \
		"$(if $(IF_LOCAL),PLATFORM_POSTGRES_17=1 $(LOCAL) up,pulumi up --yes --skip-preview --stack '$(STACK)')"

.PHONY: escrow
escrow: $(IF_LOCAL) ## Write what a restore of STACK needs besides the bucket to one file, OUT=<file>, encrypted for the age or ssh public keys in TO=<file>
	@$(if $(IF_LOCAL),command -v age >/dev/null || bin/local install age)
	@$(IN_LOCAL)infra/data/operations/escrow write '$(or $(STACK),local)' '$(TO)' '$(OUT)'

.PHONY: escrow-check
escrow-check: ## Decrypt the file FILE=<file> of make escrow in memory with KEY=<file of the private key>, list its files, and check them
	@infra/data/operations/escrow check '$(FILE)' '$(KEY)'

.PHONY: release-demo
release-demo: bin/release ## Release and roll back another version of all services under load; RATE=<requests per second> ROLLBACKS=1
	@cd test && GOWORK=off go build -o ../bin/release-demo ./cmd/release-demo
	@$(LOCAL_ENV) exec bin/release-demo $(if $(RATE),-rate $(RATE)) -rollbacks $(or $(ROLLBACKS),1)

.PHONY: scorecard
scorecard: bin/release ## Measure a release, its rollback and recoveries under load, and the history: .build/scorecard.html; RATE=<requests per second>
	@cd test && GOWORK=off go build -o ../bin/scorecard ./cmd/scorecard
	@$(LOCAL_ENV) exec bin/scorecard $(if $(RATE),-rate $(RATE))

.PHONY: preview-comment
preview-comment: $(IF_LOCAL) ## Summarise in Markdown what an update of STACK changes; SINCE=<commit> lists the changed sources
	@$(NEEDS_STACK)
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@$(IN_LOCAL)bin/infra preview '$(STACK)' '$(SINCE)'

# Puts the tools that write an SBOM on PATH. The first run downloads and compiles them.
SBOM = PATH="$$(cd local/toolchain/sbom && for tool in crane cyclonedx-gomod; do GOWORK=off go tool -n $$tool | xargs dirname; done | paste -sd:):$$PATH" \
	.github/scripts/sbom '$(STACK)'

.PHONY: sbom
sbom: $(IF_LOCAL) ## Write the modules and licences of the live images of STACK to .build/sbom/<stack>, as CycloneDX
	@$(NEEDS_STACK)
	@$(IN_LOCAL)$(SBOM)

.PHONY: attest
attest: $(IF_LOCAL) ## Write these SBOMs, and attest them and the provenance in PROVENANCE=<file> if STACK has a signer
	@$(NEEDS_STACK)
	@$(IN_LOCAL)$(SBOM) attest '$(PROVENANCE)'

.PHONY: compare
compare: ## Summarise the differences between the manifests of STACK at SINCE=<commit> and now; needs no cluster and no secrets
	@$(NEEDS_STACK)
	@git worktree prune && rm -rf .build/since && git worktree add --quiet --force --detach .build/since '$(or $(SINCE),HEAD)'
	@$(MAKE) -C .build/since render STACK='$(STACK)' >/dev/null && $(MAKE) render STACK='$(STACK)' >/dev/null
	@bin/infra compare '$(STACK)' .build/since/.build/manifests/'$(STACK)' $(MANIFESTS)/'$(STACK)'; \
		status=$$?; git worktree remove --force .build/since; exit $$status

.PHONY: integration-test
integration-test: $(IF_LOCAL) ## Test the API of STACK as a user from outside: sign up, order, notification, limits, headers
	@$(NEEDS_STACK)
	@$(IN_LOCAL)export INTEGRATION_URL="$$(pulumi stack output url --stack '$(STACK)')" && \
		export INTEGRATION_AUTHORITY="$$(pulumi stack output certificateAuthority --stack '$(STACK)')" && \
		cd test && GOWORK=off go test -count=1 -v -timeout 10m ./integration/...

.PHONY: render
render: ## Write the manifests of STACK=<stack> to .build/manifests/<stack>; needs no cluster
	@$(NEEDS_STACK)
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@bin/infra render '$(STACK)'

.PHONY: profile
profile: $(IF_LOCAL) ## Show the profile of the cluster of STACK=<stack>: values that are set, discovered or missing
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@$(IN_LOCAL)bin/infra profile '$(or $(STACK),local)'

.PHONY: check
check: ## Check the manifests of all stacks with kube-score; unit tests check policy and Pod Security
	@cd infra && GOWORK=off go build -o ../bin/infra .
	@for stack in local staging production; do bin/infra render $$stack; done
	@bin/infra render everything infra/testdata/Pulumi.everything.yaml
	@echo 'kube-score: the first run downloads and compiles it'
	@cd $(CHECKS) && GOWORK=off go tool kube-score score --exit-one-on-warning --kubernetes-version v1.34 --output-format ci \
		$$(sed -n 's/^\([a-z][a-z-]*\) *#.*/--ignore-test \1/p' kube-score.ignore) $$(find $(MANIFESTS) -name '*.yaml') >kube-score.out \
		|| { grep -v '^\[\(OK\|SKIPPED\)\]' kube-score.out >&2; exit 1; }; rm kube-score.out; echo 'kube-score: no findings'

## The code

.PHONY: fmt
fmt: ## Format the Go code
	@gofmt -w apps infra local test

.PHONY: lint
lint: vet api-check ## Check formatting, vet, and lint the code, the API description and the workflows
	@for module in $(MODULES); do (cd $$module && $(LINT) run --config $(CURDIR)/.golangci.yml ./...); done
	@cd local/toolchain/actionlint && GOWORK=off go tool actionlint $(CURDIR)/.github/workflows/*.yml

$(API_CHECKS)/node_modules: $(API_CHECKS)/package-lock.json
	@command -v npm >/dev/null || { echo 'error: no npm on PATH: install Node.js 22.12 or later, or 20.19 (nodejs.org)' >&2; exit 1; }
	@echo 'downloading the linters of the API description'
	@cd $(API_CHECKS) && npm ci --ignore-scripts --no-audit --no-fund --prefer-offline --silent && touch node_modules

.PHONY: api-check
api-check: $(API_CHECKS)/node_modules ## Lint the API description with the recommended rules of Redocly and Spectral
	@cd $(API_CHECKS) && export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true PATH="$$PWD/node_modules/.bin:$$PATH" && \
		redocly lint --extends=recommended-strict $(API) && spectral lint --ruleset=spectral.yaml --fail-severity=hint $(API)

# Puts the programs that the tests need on PATH.
WITH = PATH="$$(bin/local tool $(1) | xargs -n1 dirname | paste -sd:):$$PATH"

.PHONY: vulns
vulns: ## Report known vulnerabilities that the code of all modules, or of IN=<modules>, can reach
	@local/toolchain/vulns/scan $(or $(IN),apps infra local test)

.PHONY: unit
unit: bin/local ## Run the unit tests of all modules, or of IN=<modules>
	@bin/local install postgresql-15 pgbouncer redis-server age jq # the tests start their own servers, and run the scripts of the workflows
	@$(call WITH,promtool amtool); for module in $(or $(IN),apps infra local); do \
		(cd $$module && GOWORK=off GOGC=400 GOMEMLIMIT=1GiB go test -vet=off -p $$(($$(getconf _NPROCESSORS_ONLN) + 1)) -skip '^TestPerformance' ./...); done # one more, since some only wait
	@cd test && GOWORK=off go test ./load/... ./variant/... ./cmd/... ./delivery/... ./docs/...

.PHONY: docs-check
docs-check: ## Check that the documentation names targets, settings, files and tests that exist
	@cd test && GOWORK=off go test ./docs/...

.PHONY: race
race: bin/local ## Run the unit tests with the race detector; compiles the SDK again
	@bin/local install postgresql-15 pgbouncer redis-server age
	@$(call WITH,promtool amtool); for module in apps infra local; do (cd $$module && GOWORK=off go test -race ./...); done

# Packages whose own tests must notice at least nine of ten changes to their code. Packages below them are separate.
MUTATED := apps/api-gateway/internal/api apps/internal/breaker apps/api-gateway/internal/clientaddr apps/api-gateway/internal/token \
	apps/internal/httpjson apps/order-service/internal/order apps/user-service/internal/password \
	apps/user-service/internal/session apps/user-service/internal/user infra/release infra/release/command infra/release/report

.PHONY: mutate
mutate: bin/local ## Change the code of each package of IN=<packages>, and fail if its tests notice less than 90 % of the changes
	@bin/local install postgresql-15 redis-server
	@for package in $(or $(IN),$(MUTATED)); do echo "== $$package"; (cd $${package%%/*} && GOWORK=off go tool \
		-modfile=$(CURDIR)/local/toolchain/gremlins/go.mod gremlins unleash ./$${package#*/} --exclude-files / --workers 1 --timeout-coefficient 20) \
		| awk '!/ KILLED |NOT COVERED/; /^Test efficacy/ {enough = $$3 + 0 >= 90} END {exit !enough}'; done

.PHONY: browser
browser: bin/local ## Test the dashboards in Chromium with generated metrics
	@bin/local install chromium
	@$(call WITH,prometheus promtool); cd infra/monitoring/page/browsertest && GOWORK=off go test -count=1 ./...

.PHONY: screens
screens: bin/local ## Take the pictures in docs: the dashboard of the running platform, and the report of its last release
	@bin/local install chromium
	@cd infra && GOWORK=off go build -o ../bin/dashboards ./cmd/dashboards
	@$(LOCAL_ENV) test/screens

.PHONY: bench
bench: bin/local ## Benchmark the services against their peers; fails if they miss the targets
	@bin/local install postgresql-15 redis-server nginx-light wrk
	@cd apps && GOWORK=off go test -count=1 -run '^TestPerformance' -v \
		$$(grep -rl --include='*_test.go' '^func TestPerformance' . | xargs -n1 dirname | sort -u)

# The tests of the running platform. RUN=<regular expression> selects tests by name.
TIER = cd test && RATE='$(RATE)' GOWORK=off go test -count=1 -v $(if $(SHORT),-short) $(if $(RUN),-run '$(RUN)')

.PHONY: smoke
smoke: bin/release ## Test the basic functions and the protection of the running platform
	@$(TIER) -timeout 20m ./smoke/...

.PHONY: e2e
e2e: bin/local ## Test the running platform end to end, without releases and faults
	@$(call WITH,cosign); $(TIER) -timeout 45m ./e2e/...

.PHONY: release-test
release-test: bin/release ## Test releases on the running platform under load and with failures; SHORT=1 runs one of each, RATE=<requests per second>
	@$(TIER) -timeout 90m ./release/...

.PHONY: faults
faults: bin/local ## Kill and stop parts of the running platform, and test that it recovers; RATE=<requests per second>
	@$(TIER) -timeout 90m -skip '$(ALERT_TESTS)' ./faults/...

ALERT_TESTS := ^Test(OutagePagesOnce|QuietDayFiresNothing|.+Pages?)$$

.PHONY: alert-test
alert-test: bin/local ## Cause each outage on the running platform, and measure its page: .build/alert-test.md; RUN=TestOutagePagesOnce/<outage>
	@rm -f .build/alert-test.md; failed=; ($(TIER) -run '$(or $(RUN),$(ALERT_TESTS))' -timeout 180m ./faults/...) || failed=1; \
		[ ! -e .build/alert-test.md ] || cat .build/alert-test.md; [ -z "$$failed" ]

.PHONY: scale
scale: bin/local ## Measure previews of 4, 20 and 40 services on the running platform
	@$(TIER) -timeout 30m ./scale/...

.PHONY: lifecycle
lifecycle: bin/local ## Test stopping, interrupting, taking over and deleting the platform; starts and ends with make down
	@$(TIER) -timeout 80m ./lifecycle/...

.PHONY: upgrade-test
upgrade-test: bin/local ## Upgrade a platform of FROM=<commit> (default: the previous version) in place under load; starts and ends with make down
	@$(LOCAL) down && git worktree prune && rm -rf .build/from
	@git worktree add --quiet --force --detach .build/from '$(or $(FROM),$(shell git log -1 --format=%H^ -- infra/VERSION))'
	@trap '$(LOCAL) down; git worktree remove --force .build/from' EXIT; \
		$(MAKE) -C .build/from up && mkdir -p bin && cp .build/from/bin/ca.pem bin/ && ($(TIER) -timeout 45m ./upgrade/...)

.PHONY: promotion-test
promotion-test: bin/local ## Test promotion and the workflows on two local clusters, with a runner on this machine; starts and ends with make down
	@$(LOCAL) down # both clusters would see its mounts
	@bin/local install openssl socat jq curl git postgresql-15 pgbouncer redis-server
	@$(MAKE) vulns IN=local # the clusters have no network to download its database
	@cd local/toolchain/sbom && for tool in crane cyclonedx-gomod; do GOWORK=off go tool -n $$tool; done >/dev/null # for make sbom
	@cd local/toolchain/act && GOWORK=off go build -o ../../../bin/act github.com/nektos/act
	@$(TIER) -timeout 60m ./promotion/...

.PHONY: nodes-test
nodes-test: bin/local ## Drain and kill nodes of a platform with three nodes under load; starts and ends with make down
	@$(LOCAL) down
	@trap '$(LOCAL) down' EXIT; $(MAKE) up NODES=3 && ($(TIER) -timeout 45m ./nodes/...)

.PHONY: machine-test
machine-test: bin/local ## Test the local node in an emulated Debian 12 with systemd and cgroup v2, with the tools of make up
	@bin/local install qemu-system-x86 mmdebstrap e2fsprogs openssh-client
	@$(TIER) -timeout 180m ./machine/...

.PHONY: vet
vet: ## Check formatting and vet
	@go list ./apps/internal/event ./infra/catalog ./local/host ./test/load >/dev/null # checks that go.work matches its modules
	@unformatted=$$(gofmt -l apps infra local test); if [ -n "$$unformatted" ]; then echo "error: not formatted, run make fmt: $$unformatted" >&2; exit 1; fi
	@for module in $(MODULES); do (cd $$module && GOWORK=off go vet ./...); done

.PHONY: test
test: ## Test a change: formatting, vet, unit tests, manifests, and a release on the platform, which is left as it was found
	@$(MAKE) vet
	@$(MAKE) unit
	@$(MAKE) check
	@node=/var/lib/platform/node after=down; \
		if [ -S $$node/run/supervisor.sock ]; then after=status; elif [ -d $$node ]; then after=stop; fi; \
		$(MAKE) up && $(MAKE) smoke && $(MAKE) release-test SHORT=1 RATE=25 RUN=TestReleaseOfAllServicesAndTheirRollbackLoseNothing && $(MAKE) $$after

# The tiers run one after the other, because each load needs the whole machine. lifecycle deletes the platform.
TIERS := unit bench lint check browser race up smoke e2e faults alert-test release-test scorecard scale lifecycle promotion-test upgrade-test nodes-test machine-test

.PHONY: test-all
test-all: ## Run every tier of tests even if one fails, and print the results; takes hours; ends with make down
	@failed=0 results=; \
	run() { \
		local start=$$SECONDS result=passed; \
		$(MAKE) $$1 || { result=failed; failed=1; }; \
		results+=$$(printf '%-16s %s %4d' $$1 $$result $$(((SECONDS - start + 30) / 60)))$$'\n'; \
	}; \
	for tier in $(TIERS); do run $$tier; done; \
	printf '\n%-16s %-6s %4s\n%s' tier result min "$$results"; \
	exit $$failed
