# Two commands matter: `make demo` shows it, `make test` proves it. Everything else builds on `make install`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SAY = @printf '\033[2m· %s\033[0m\n'

.DEFAULT_GOAL := help
.PHONY: help install demo test test-clients test-slow check lint types contract format lock dashboards bench bench-selectors clean

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv from the lock (with uv when present, else venv + pip)

$(STAMP): pyproject.toml uv.lock requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: install Python 3.11 or newer, or say make PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V): Hedgerow needs 3.11 or newer; say make PYTHON=python3.11"; exit 2; }
	@if command -v uv >/dev/null; then \
	  printf '· installing the locked dependencies with uv\n'; \
	  uv sync --quiet --frozen --all-extras --python $(PYTHON) --compile-bytecode; \
	else \
	  printf '· creating %s\n' $(VENV); \
	  $(PYTHON) -m venv --clear $(VENV) || { echo "python's venv module does not work: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }; \
	  printf '· installing the locked dependencies with pip (about a minute)\n'; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.txt; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@$(BIN)/python -m compileall -q gateway selectors
	@touch $@

demo: $(STAMP) ## Three simulated providers, one gateway, a dozen requests; ONCE=1 stops after the table, PORT=8001
	@$(BIN)/hedgerow demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(METRICS_PORT),--metrics-port $(METRICS_PORT))

test: $(STAMP) ## Run the test suite (the slow tests excepted)
	$(SAY) 'running the tests'
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow' $(ARGS)

test-clients: $(STAMP) ## Run real clients directly against a mock and through the gateway, and compare (npm; makes .clients/)
	@$(BIN)/python -m tests.clients $(ARGS)

test-slow: $(STAMP) ## Run the slow tests
	$(SAY) 'laws and recordings, on both cores; then what needs the machine for itself'
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m slow --timeout 900 tests/pure
	@$(BIN)/python -m pytest -q -m slow --timeout 900 --ignore=tests/pure $(ARGS)

lint: $(STAMP)
	$(SAY) 'ruff'
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	$(SAY) 'import contracts'
	@$(BIN)/lint-imports --no-cache | tail -n 3

types: $(STAMP)
	$(SAY) 'mypy'
	@$(BIN)/mypy

check: lint types test ## Everything that must hold before a commit

contract: $(STAMP) ## Hold a running gateway against its OpenAPI document; CASES=20 of each endpoint and kind
	$(SAY) 'schemathesis, in an environment of its own'
	@test -x build/contract/bin/schemathesis || { $(PYTHON) -m venv --clear build/contract && \
	  build/contract/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r tests/contract/requirements.txt; }
	@$(BIN)/python -m tests.contract.check build/contract/bin/schemathesis $(or $(CASES),20)

format: $(STAMP) ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

dashboards: $(STAMP) ## Prove dashboards and rules with a real Prometheus; PICTURES=docs/pictures draws what they show
	@command -v prometheus >/dev/null && command -v promtool >/dev/null || { \
	  printf '· installing Prometheus\n'; apt-get update -qq && apt-get install -y -qq prometheus >/dev/null; } \
	  || { echo "prometheus and promtool are not installed and apt-get cannot do it: https://prometheus.io/download"; exit 2; }
	$(SAY) 'a gateway under mixed load, scraped by a real Prometheus'
	@$(if $(PICTURES),HEDGEROW_PICTURES=$(PICTURES)) $(BIN)/python -m pytest -q --timeout 300 tests/e2e/test_dashboards.py

bench: $(STAMP) ## Measure CPU and added latency per request
	@$(BIN)/python -m bench

bench-selectors: $(STAMP) ## Replay recorded answers of real models beside the published figures
	@$(BIN)/python -m bench.selectors $(ARGS)

lock: ## Renew uv.lock and requirements.txt (needs uv)
	@command -v uv >/dev/null || { echo "uv is not installed: pip install uv"; exit 2; }
	uv lock --upgrade
	uv export --quiet --frozen --all-extras --no-emit-project --format requirements-txt --output-file requirements.txt --no-header
	uv export --quiet --frozen --extra otel --extra redis --no-dev --no-emit-project --format requirements-txt --output-file deploy/requirements.txt --no-header
	uv export --quiet --frozen --only-group build --format requirements-txt --output-file deploy/requirements-build.txt --no-header

clean: ## Remove what the other targets made
	rm -rf $(VENV) .clients build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
