# nanolab: `make` alone lists what there is. Needs git, make and Python 3.11, 3.12 or 3.13, nothing else.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
CONSTRAINTS := requirements/constraints.txt
# torch first and by exact version: where a CPU wheel is at hand, pip then takes it
TORCH := $(shell grep '^torch==' $(CONSTRAINTS))
PIP := PIP_CONSTRAINT=$(CONSTRAINTS) $(PY) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
NUMERICS := tests/models tests/lightning_modules tests/optimization tests/evaluation tests/callbacks
# what another processor would compute with; AVX-512 only where this one has it
SETTINGS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 $(shell grep -qs avx512f /proc/cpuinfo && echo ATEN_CPU_CAPABILITY=avx512) \
  MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2

.PHONY: help demo test test-numerics test-all test-browser fuzz checks format bench lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:[^#]*## /\t/' | expand -t 16

$(VENV)/run.stamp: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	  sys.exit(0 if ok else f"Python 3.11 to 3.13 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH)
	@$(PIP) -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/run.stamp ## train the default model on the embedded corpus and read its text (3 minutes)
	@$(PY) run.py experiment=demo

test: $(VENV)/dev.stamp ## run the tests (no network, no GPU)
	@$(PY) -m pytest -n auto

test-numerics: $(VENV)/dev.stamp ## run the tests that compute as other processors would, on 1 and 2 threads (half an hour)
	@for setting in $(SETTINGS); do for threads in 1 2; do \
	  echo "$$setting OMP_NUM_THREADS=$$threads"; \
	  env $$setting OMP_NUM_THREADS=$$threads $(PY) -m pytest -n auto $(NUMERICS) || exit 1; \
	done; done

test-all: $(VENV)/dev.stamp ## run the slow tests too
	@$(PY) -m pytest -n auto -m ''

test-browser: $(VENV)/dev.stamp ## run the tests of pages in a real Chromium (Debian: apt install chromium)
	@$(PY) -m pytest -m "" tests/tasks/serving/test_page.py tests/inspection/test_look.py

fuzz: $(VENV)/dev.stamp ## command lines, files, folders and signals made to hurt, for ten minutes (FUZZ_SEED, FUZZ_MINUTES, FUZZ_CASE, FUZZ_KIND)
	@PYTHONPATH=. $(PY) tests/fuzz

checks: $(VENV)/dev.stamp ## format, lint, types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

format: $(VENV)/dev.stamp ## rewrite files in the project's format
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: $(VENV)/dev.stamp ## speed and memory, as ratios measured in one run
	@$(PY) -m benchmarks

lock: ## write requirements/lock.txt, hashes of all pinned packages (needs the package index)
	@$(PYTHON) requirements/lock.py

clean: ## remove the virtual environment and caches; outputs/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
