PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS := .ci/constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint $(CONSTRAINTS)
PINS := pyproject.toml $(CONSTRAINTS)
PACKAGES := chromium postgresql g++ libxc-dev libopenblas-dev python3-dev
# A fast part of the tests that touches every library which is called.
TOUCHING := adapter benchmark_metrics methods_exact_gp calculator calibration cli clients columns executors inducing lattice \
	metrics model_file plots plots_elastic requirements store surrogate symmetry variational
# Two processes of one thread each beat one process whose threads wait for each other on matrices this small.
PYTEST ?= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help demo test test-all test-lowest lint clean tools

help:
	@echo 'make demo      install into $(VENV) and run the main job on the shipped DFT data'
	@echo 'make test      the same, with the test extra, then the tests that need nothing else'
	@echo 'make test-all  these, then those that take long or need Chromium, PostgreSQL or GPAW, which root gets from apt'
	@echo 'make test-lowest  a fast part of the tests with the lowest versions that pyproject.toml admits, in $(VENV)-lowest'
	@echo 'make lint      ruff, import-linter and mypy'
	@echo 'make clean     remove $(VENV)'
	@echo 'Another Python: make demo PYTHON=python3.12'

demo: $(VENV)/.installed
	$(BIN)/ase-dkl demo --overwrite

test: $(VENV)/.installed-test
	$(PYTEST) -m 'not (slow or tools)' $(TESTS)

test-all: test tools
	$(PYTEST) -m 'slow or tools'

# What old libraries deprecate in each other is not ours.
test-lowest:
	$(MAKE) test VENV=$(VENV)-lowest CONSTRAINTS=.ci/lowest.txt \
		TESTS='-W ignore::DeprecationWarning $(TOUCHING:%=tests/test_%.py)'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

# What the marker `tools` needs and pip does not bring. GPAW's own build needs a C++ compiler for both languages.
tools: $(VENV)/.installed-test
	@[ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get update \
		--quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes $(PACKAGES); }
	@$(BIN)/python -c 'import gpaw' 2>/dev/null || CC=g++ CXX=g++ $(PIP) gpaw || \
		{ echo 'GPAW cannot be built. The tests of these tools need the packages $(PACKAGES).' >&2; exit 1; }

clean:
	rm -rf $(VENV) $(VENV)-lowest

$(VENV)/.installed: $(PINS) | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(PINS) | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(PINS) | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is missing or older than 3.11. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments: ensurepip or venv is missing (Debian and Ubuntu keep them' >&2; \
		  echo 'in the package python3-venv). Install that, or name another Python: make $(MAKECMDGOALS) PYTHON=...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
