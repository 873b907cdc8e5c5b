# `make demo` and `make test` need nothing but make and Python 3.11 or newer: they install into .venv first.

PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& echo $$python && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
PYTEST_WORKERS ?= 2

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax

.PHONY: demo test test-slow lint format docs versions lock clean

demo: $(INSTALLED)
	$(BIN)/python -m configs.demo

test: lint
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The core at the lowest supported versions of what it needs, and Ray at its lowest, in environments of their own.
versions: $(INSTALLED)
	$(BIN)/python .ci/versions.py

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "No Python 3.11 or newer with venv was found: install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# Resolves every dependency afresh, in an environment of its own, with the oldest Python that is supported.
lock:
	rm -rf .cache/lock
	python3.11 -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	{ sed -n '/^#/p' constraints.txt; .cache/lock/bin/python -m pip freeze --all --exclude pip --exclude velo; } > .cache/constraints.txt
	mv .cache/constraints.txt constraints.txt
	rm -rf .cache/lock build

clean:
	rm -rf .venv .cache build *.egg-info .pytest_cache .ruff_cache
