# Every target is also what CI runs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory

LOCAL := bin/local $(if $(CONTEXT),-context '$(CONTEXT)') $(if $(REGISTRY),-registry '$(REGISTRY)')

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: bin/local
bin/local:
	@command -v go >/dev/null || { echo 'error: Go 1.26 or later is needed: see go.dev/dl' >&2; exit 1; }
	@cd local && go build -o ../bin/local .

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
logs: bin/local ## Follow the log of C=<component>
	@$(LOCAL) logs '$(C)'

.PHONY: env
env: bin/local ## Print what makes a shell use this platform: eval "$(make -s env)"
	@$(LOCAL) env

.PHONY: token
token: bin/local ## Sign in as the demo user and print the token
	@$(LOCAL) token
