# make demo   virtual environment, install, audit of the embedded model, path of the report
# make test   virtual environment, install, all tests
# make check  what CI runs: lint, types, layering, tests
# PYTHON chooses the interpreter (3.11 or newer). A second call installs nothing again.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PINNED := -c constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export HF_HUB_OFFLINE = 1

.PHONY: demo test check lint types layers format clean

demo: $(VENV)/installed
	$(BIN)/interpret demo --out demo-report

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

check: lint types layers test

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

layers: $(VENV)/installed-dev
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "interpret-lm needs Python 3.11 or newer; say make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch first and pinned: the newest one from PyPI would bring gigabytes of CUDA packages along.
$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install -q $(PINNED) torch
	$(BIN)/pip install -q $(PINNED) -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install -q $(PINNED) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo-report build *.egg-info
