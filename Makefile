# Each target first creates the virtual environment, so a machine with python3 and make can run any of them.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MAX_MINUTES ?= 12
BENCHES := bm25 objectives pretraining_step retromae_step encoding postings sparse_search dense_search startup

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check docs bench clean

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 12

demo: $(INSTALLED)  ## Pre-train, fine-tune, index, evaluate and search on real text, in about 7 minutes (MAX_MINUTES=12).
	$(BIN)/encloze demo --output demo --max_minutes $(MAX_MINUTES) --overwrite

test: $(INSTALLED)  ## Run the default tests, offline.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(INSTALLED)  ## Run all tests, including the slow ones.
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or not slow"

check: $(INSTALLED)  ## Check format, lint, types and import contracts.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## Build the documentation in docs/_build/html; warnings are errors.
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html

bench: $(INSTALLED)  ## Measure speed; results go to benchmarks/results.
	for name in $(BENCHES); do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:  ## Remove what the other targets created.
	rm -rf .venv build docs/_build docs/reference/generated demo .mypy_cache .pytest_cache .ruff_cache src/*.egg-info

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
