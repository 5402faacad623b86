# Everything a checkout needs; `make help` lists it. All paths are relative, so the checkout's own may have spaces.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
PY := $(VENV)/bin/python

# What is installed is known by this sum. `pwd` is in it because an editable install remembers where the checkout was.
SUM := $(shell { cat requirements.lock requirements-dev.lock tests/clients/openai-1.lock pyproject.toml; pwd; } | cksum | cut -d ' ' -f 1)
DEV_STAMP := $(VENV)/.installed-dev-$(SUM)
# The development lock holds all that the other one does, so its stamp serves a plain run too.
RUN_STAMP := $(or $(wildcard $(DEV_STAMP)),$(VENV)/.installed-$(SUM))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Where Python may not keep what it compiled, each of the hundred processes that the suite starts compiles it all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install install-dev run test check bench demo fuzz chaos fmt fmt-check lint types arch

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: $(RUN_STAMP) ## Set up .venv with the pinned packages, and nothing else

run: $(RUN_STAMP) ## Set up what is missing, then serve on 127.0.0.1:9380 until Ctrl-C
	@exec $(PY) -m app.cli serve

test: $(DEV_STAMP) ## Run the whole suite
	@exec $(PY) -m pytest -n 2 --dist loadfile

check: fmt-check lint types arch ## Check format, lint, spelling, types and import contracts

bench: $(DEV_STAMP) ## Run the benchmarks
	@exec $(PY) -m bench

demo: $(DEV_STAMP) ## Load sample documents and ask three questions through the official openai client
	@exec $(PY) -m app.cli demo

fuzz: $(DEV_STAMP) ## Call everything of the OpenAPI page with generated input, for longer than the suite does
	@exec $(PY) -m tests.contract

chaos: $(DEV_STAMP) ## Kill processes at random, for longer than the suite does
	@exec $(PY) -m tests.chaos

fmt: $(DEV_STAMP) ## Format the code and sort its imports
	$(PY) -m ruff check --select I --fix
	$(PY) -m ruff format

lint: $(DEV_STAMP) ## Lint, and check the spelling
	$(PY) -m ruff check
	$(PY) -m codespell_lib

types: $(DEV_STAMP) ## Check the types, with mypy and with pyright
	$(PY) -m mypy
	$(PY) -m pyright

arch: $(DEV_STAMP) ## Check that imports point down
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

fmt-check: $(DEV_STAMP)
	$(PY) -m ruff format --check

install-dev: $(DEV_STAMP)

$(VENV)/.installed-$(SUM): | $(PY)
	@echo 'Installing the pinned packages into $(VENV) (about half a minute, once)'
	@$(PY) -m pip install -qq --require-hashes --no-deps -r requirements.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_STAMP): | $(PY)
	@echo 'Installing the pinned packages, with those for development, into $(VENV) (about a minute, once)'
	@$(PY) -m pip install -qq --require-hashes --no-deps -r requirements-dev.lock
	@$(PY) -m pip install -qq --require-hashes --no-deps --upgrade --target $(VENV)/openai-1 -r tests/clients/openai-1.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation -e .
	@touch $@

# A name alone says little (pyenv has names for versions that are not there): each candidate is asked.
$(PY):
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    exec "$$python" -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo 'parley needs Python 3.11 or newer, and found' \
	  "$$(python3 --version 2>/dev/null || echo no python3): install one, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1
