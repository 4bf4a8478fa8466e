# `make` lists the targets. Each that needs the environment sets it up first, once.
PYTHON ?= python3
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
QUIET := $(shell test -t 2 || echo -q)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format types lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## the environment in .venv: pinned versions, about 6 GB with CUDA, 3 GB downloaded

demo: setup ## seven runs on real CIFAR-10: six remedies and none against a vanishing gradient
	@$(BIN)/python scripts/train.py study=demo

test: setup ## the default suite, with its coverage
	@$(BIN)/python -m pytest --cov --cov-report=term

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## ruff: mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

lock: $(UV) ## write requirements/ anew from pyproject.toml, with today's versions
	@$(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate --no-header \
		--python-version 3.11 --extra dev pyproject.toml -o requirements/dev.txt
	@echo uv | $(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate \
		--no-header --python-version 3.11 - -o requirements/uv.txt

clean: ## remove the environment and caches; data/, outputs/ and multirun/ stay
	@rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready: requirements/dev.txt pyproject.toml | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name another: make PYTHON=python3.12"; exit 1; }
	@test -d .venv || $(UV) venv $(QUIET) --python "$$(command -v $(PYTHON))" .venv
	@echo "setting up .venv: a few minutes, once"
	@$(UV) pip sync $(QUIET) --python .venv --require-hashes --compile-bytecode requirements/dev.txt
	@$(UV) pip install $(QUIET) --python .venv --no-deps --editable .
	@touch $@

# Only where the machine has no uv of its own.
.uv/bin/uv: requirements/uv.txt
	@$(PYTHON) -m venv .uv || \
		{ echo "error: $(PYTHON) has no venv; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@.uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@
