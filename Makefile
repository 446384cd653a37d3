# One environment in .venv, made by uv. Nothing outside this folder is touched; uv itself goes to .tools if it is missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV := $(shell command -v uv 2>/dev/null)
ifeq ($(UV),)
UV := .tools/bin/uv
# Without a uv of the user's own, its cache stays here too.
export UV_CACHE_DIR ?= $(CURDIR)/.tools/cache
endif
PYTHON ?= python3
RUN := .venv/bin
# A test process for each core, at most eight; which tests stay together, tests/conftest.py says.
SHARED := --numprocesses logical --maxprocesses 8 --dist loadgroup

.PHONY: help setup demo check format docs test test-gate test-all test-slow test-cluster test-nodes test-gpu clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.tools/bin/uv:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed (set PYTHON=...)" >&2; exit 1; }
	@echo "installing uv into .tools"
	@$(PYTHON) -m venv .tools 2>/dev/null && .tools/bin/python -m pip install --quiet --disable-pip-version-check uv \
		|| { rm -rf .tools; $(PYTHON) -m pip install --quiet --target .tools uv; }

setup: .venv/.ready ## make the environment (about 5 GB: torch includes CUDA)

.venv/.ready: pyproject.toml $(filter .tools/bin/uv,$(UV))
	@echo "making the environment in .venv (the first time takes a few minutes)"
	@$(UV) sync --quiet --compile-bytecode
	@touch $@

demo: setup ## train five variants on handwritten digits and compare them (under five minutes)
	@$(RUN)/orchestrator run experiments/quickstart.yaml

check: setup ## style, types and layers
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: setup ## format the code
	$(RUN)/ruff check --fix-only --quiet .
	$(RUN)/ruff format --quiet .

docs: setup ## the documentation site, in build/docs; a dead link or reference fails
	$(RUN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs build/docs
	@echo "open build/docs/index.html"

test: setup ## the tests that run anywhere, within ten minutes
	$(RUN)/pytest $(SHARED) -m "not slow and not cluster and not browser and not gpu"

test-gate: setup ## one real launch, interrupted, killed and resumed, and beside it the report of a trial in Chromium
	$(RUN)/pytest --numprocesses 2 --dist loadfile tests/test_resume.py::test_interrupted_then_killed_then_carried_on tests/test_browser.py

test-all: test test-slow test-cluster test-nodes test-gpu ## everything, for releases; test-gpu skips itself without a GPU

test-slow: setup ## the slow tests, and those that open pages in Chromium
	$(RUN)/pytest $(SHARED) -m "(slow or browser) and not cluster and not gpu"

test-cluster: setup ## a whole cluster on simulated hosts (as root; ten minutes; tests/lab/README.md)
	$(RUN)/pytest tests/cluster -m "cluster and not browser and not gpu"

test-nodes: setup ## the other tests of clusters: several Ray nodes, or a head, on this machine
	$(RUN)/pytest --ignore tests/cluster -m "cluster and not browser and not gpu"

test-gpu: setup ## the tests that need a CUDA device
	$(RUN)/pytest -m "gpu and not cluster"

clean: ## remove the environment and everything generated here
	rm -rf .venv .tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
