# The project's commands. Everything is installed into .venv; the real peers of the tests are cached outside the
# repository (tests/peers/provision.py says where).

# One target after the other, whatever -j says: each of them uses both the machine and the virtual environment.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
PYTEST_FLAGS ?=
# Several files of tests at once: many of them wait. Each worker has a kube-apiserver of its own. 0: none, as --pdb wants it.
WORKERS ?= 3
DEMO_FLAGS ?=
BENCH_FLAGS ?= --through kube-apiserver --through simulator --json build/bench.json
LOCK_FLAGS ?=

BIN := .venv/bin
RUNNABLE := .venv/.runnable
LOCKED := .venv/.locked
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV ?= $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --annotation-style line \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(LOCK_FLAGS)

.PHONY: help venv demo check generate verify peers test bench lock clean

help: ## List the commands
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name meaning; do \
		printf '  make %-10s %s\n' "$$name" "$$meaning"; done

venv: $(INSTALLED) ## Make .venv with everything that is locked (PYTHON=python3.12 for another Python)

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("venv: $(PYTHON) is %d.%d; gotk-exporter needs 3.11 or newer: make venv PYTHON=python3.12" % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends python3-venv; \
		fi; } >/dev/null
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "venv: $(PYTHON) cannot make virtual environments; install the package python3-venv" >&2; exit 1; }

# What it takes to run, without what it takes to develop: the demo's first start should not wait for that.
$(RUNNABLE): requirements/run.txt | python
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --require-hashes -r requirements/run.txt
	@touch $@

$(LOCKED): requirements/dev.txt | python
	$(PYTHON) -m venv --clear .venv
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@ $(RUNNABLE)

$(INSTALLED): $(LOCKED) pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(RUNNABLE) ## A living cluster, the exporter on it, and a story of incidents (DEMO_FLAGS='--speed 30')
	@PYTHONPATH=exporter exec $(BIN)/python -m gotk_exporter demo $(DEMO_FLAGS)

check: venv ## Format, lint, types, import contracts: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy exporter tests/peers tests/bench
	$(BIN)/lint-imports

generate: venv ## Write every generated/ directory
	$(BIN)/python exporter/generate.py

verify: venv ## Fail when a generated/ directory is not what 'make generate' writes
	$(BIN)/python exporter/generate.py --check

peers: venv ## Get the real peers of the tests: minutes the first time, nothing afterwards
	$(BIN)/python tests/peers/provision.py

test: venv peers ## Run every test (PYTEST_FLAGS='-k watch' for some)
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

bench: venv peers ## What it costs: through a real kube-apiserver and, with more objects, a simulated one (BENCH_FLAGS=--help)
	$(BIN)/python -m tests.bench $(BENCH_FLAGS)

# Without the prerequisite venv: what is locked now may be what cannot be installed.
lock: ## Maintainers: lock requirements/*.txt again (LOCK_FLAGS=--upgrade for newer versions)
	@command -v $(UV) >/dev/null || { echo "lock: $(UV) is missing; run 'make venv' first, or set UV=" >&2; exit 1; }
	$(COMPILE) pyproject.toml --output-file requirements/run.txt >/dev/null
	$(COMPILE) pyproject.toml --group dev --output-file requirements/dev.txt >/dev/null
	$(COMPILE) requirements/go.in --output-file requirements/go.txt >/dev/null

clean: ## Remove .venv, caches and build output; the peers stay in their cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find exporter tests -name __pycache__ -type d -prune -exec rm -rf {} +
