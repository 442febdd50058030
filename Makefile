# Every target makes .venv first where it is absent or older than pyproject.toml or constraints.txt.
# Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help venv run test test-fast soak lint format bench deps-system clean

help: ## Show what there is
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "  %-12s %s\n", $$1, $$2 }'

venv: $(STAMP) ## Make .venv with everything that Accord and its tests need

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Accord needs Python 3.11 or newer; name one: make PYTHON=python3.11 ...' >&2; exit 1; }
	@echo 'Setting up $(VENV) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

run: $(STAMP) ## Start the platform on this machine and run the examples on it
	@$(PY) -m accord examples examples

test: lint ## Run everything: lint, types, import contracts and all tests
	$(PY) -m pytest -m 'not soak'

test-fast: $(STAMP) ## Run the tests that start no processes, boxes or browser
	$(PY) -m pytest -m 'not acceptance and not faults and not box and not browser and not soak'

soak: $(STAMP) ## Run the long forms of the tests
	ACCORD_SOAK_MINUTES=$(MINUTES) $(PY) -m pytest -m soak --timeout 0

lint: $(STAMP) ## Check style, types and the direction of imports
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(STAMP) ## Put the code into its form
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(STAMP) ## Measure, beside a control taken in the same run
	$(PY) -m benchmarks

# What the full tests run: a browser, Apache's Thrift compiler, etcd, and every language of the presets.
TOOLS := chromium:chromium thrift:thrift-compiler make:make gcc:gcc g++:g++ /usr/bin/python3:python3 perl:perl \
  node:nodejs javac:default-jdk-headless go:golang-go rustc:rustc ruby:ruby \
  etcd:etcd-server

deps-system: ## Install the Debian packages that the full tests want (as root)
	@missing=; for pair in $(TOOLS); do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -z "$$missing" ]; then echo 'Everything is here.'; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "This is no Debian. Install by your own means:$$missing" >&2; exit 1; fi; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "Needs root. Run: sudo make deps-system   (installs:$$missing)" >&2; exit 1; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -q && apt-get install -q -y --no-install-recommends $$missing

clean: ## Remove .venv, caches and what was built; ./data stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.egg-info' -type d -prune -exec rm -rf {} +
