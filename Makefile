PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint .ci/constraints.txt
PINS := pyproject.toml .ci/constraints.txt
# Two processes of one thread each beat one process whose threads wait for each other on matrices this small.
PYTEST ?= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: help demo test test-all lint clean chromium postgresql gpaw

help:
	@echo 'make demo      install into $(VENV) and run the main job on the shipped DFT data'
	@echo 'make test      the same, with the test extra, then the tests that need nothing else'
	@echo 'make test-all  these, then those that take long or need Chromium, PostgreSQL or GPAW, which root gets from apt'
	@echo 'make lint      ruff and mypy'
	@echo 'make clean     remove $(VENV)'
	@echo 'Another Python: make demo PYTHON=python3.12'

demo: $(VENV)/.installed
	$(BIN)/ase-dkl demo --overwrite

test: $(VENV)/.installed-test
	$(PYTEST) -m 'not (slow or tools)'

test-all: test chromium postgresql gpaw
	$(PYTEST) -m 'slow or tools'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# What the marker `tools` needs and pip does not bring.
APT = apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes
CAN_APT = [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null

chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		if $(CAN_APT); then $(APT) chromium; else \
			echo 'There is no Chromium for the tests of the report: install the package chromium.' >&2; exit 1; \
		fi

postgresql:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
		if $(CAN_APT); then $(APT) postgresql; else \
			echo 'There is no PostgreSQL for the tests of shared databases: install the package postgresql.' >&2; \
			exit 1; \
		fi

# Its own build needs a C++ compiler for both languages.
gpaw: $(VENV)/.installed-test
	@$(BIN)/python -c 'import gpaw' 2>/dev/null || \
		if { ! $(CAN_APT) || $(APT) g++ libxc-dev libopenblas-dev python3-dev; } && CC=g++ CXX=g++ $(PIP) gpaw; then :; else \
			echo 'GPAW, which the tests of the examples compute with, needs the packages g++, libxc-dev and' >&2; \
			echo 'libopenblas-dev.' >&2; exit 1; \
		fi

clean:
	rm -rf $(VENV)

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
