# Every verb makes the virtual environment it needs, so a fresh machine with python3 and make runs any of them at once.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MAX_MINUTES ?= 12
BENCHES := bm25 objectives pretraining_step

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check docs bench clean

help:  ## Show what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

demo: $(INSTALLED)  ## Pre-train, fine-tune, index, evaluate and search on real text, in about 7 minutes (MAX_MINUTES=12).
	$(BIN)/encloze demo --output demo --max_minutes $(MAX_MINUTES) --overwrite

test: $(INSTALLED)  ## The tests that users run, below five minutes on two cores, offline.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

test-slow: $(INSTALLED)  ## The tests that take longer, too.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 -m "slow or not slow"

check: $(INSTALLED)  ## Format, lint, types, import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## The documentation, in docs/_build/html.
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

bench: $(INSTALLED)  ## Measure speed; results go to benchmarks/results.
	for name in $(BENCHES); do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:  ## Remove what the other verbs made.
	rm -rf .venv build docs/_build demo .mypy_cache .pytest_cache .ruff_cache src/*.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
