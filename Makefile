# `make` lists the targets. Each that needs the environment sets it up first, once.
PYTHON ?= python3
BIN := .venv/bin
# Asked for its version, since a version manager's stand-in may be on PATH with no uv behind it.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .uv/bin/uv)
QUIET := $(shell test -t 2 || echo -q)
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "error: $(PYTHON) is missing or older than Python 3.11; name another: make setup PYTHON=python3.12" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all coverage test-browser test-server test-cluster fuzz gpu lint format types lock bare clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## the environment in .venv: pinned versions, about 6 GB with CUDA, 3 GB downloaded

demo: setup ## seven runs on real CIFAR-10, and the page that compares them: six remedies and none
	@$(BIN)/python scripts/train.py study=demo
	@if [ -t 1 ] && [ -n "$$DISPLAY$$WAYLAND_DISPLAY$$(uname | grep Darwin)" ]; then \
		$(BIN)/python -m webbrowser -t "file://$$PWD/multirun/demo/compare.html" >/dev/null; fi

test: setup ## the fast suite on every core
	@$(BIN)/python -m pytest -n auto --dist loadgroup

ALL := -n auto --dist loadgroup -m "not gpu and not download and not fuzz"
test-all: setup ## every test but those of an accelerator, and make fuzz (Debian: apt install chromium)
	@$(BIN)/python -m pytest $(ALL)

coverage: setup ## test-all once more, with the lines that no test reaches; half as long again
	@$(BIN)/python -m pytest $(ALL) --cov --cov-report=term

test-browser: setup ## the comparison page in a real Chromium (Debian: apt install chromium)
	@$(BIN)/python -m pytest -m browser

# The server is a program of its own, which uv fetches for the tests (46 MB unpacked).
test-server: setup ## the real client against a W&B server on this machine
	@$(BIN)/python -m pytest tests/project/server -m server -n auto --dist loadgroup

# Both are fetched for the tests: Slurm as Debian's packages (6 MB, not installed), Ray by uv (330 MB).
test-cluster: setup ## studies on Slurm and on Ray, on this machine
	@$(BIN)/python -m pytest tests/project/test_clusters.py -m cluster

fuzz: setup ## 4,000 made-up command lines in this process, and two hundred through the real one
	@$(BIN)/python -m pytest -n auto -m fuzz tests/project/test_fuzz.py

gpu: setup ## everything that needs an NVIDIA GPU: tests, waits, speed; 8 minutes; outputs/gpu/
	@$(BIN)/python scripts/lab/benchmark.py gpu

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## ruff: mend what it can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

lock: $(UV) ## write requirements/ anew from pyproject.toml, with today's versions
	@$(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate --no-header \
		--python-version 3.11 --extra dev pyproject.toml src/gradflow/pyproject.toml -o requirements/dev.txt
	@echo uv | $(UV) pip compile -q --upgrade --universal --generate-hashes --no-annotate \
		--no-header --python-version 3.11 - -o requirements/uv.txt

bare: ## leave the laboratory behind: theory, probe, treatments, pathologies and remedies
	@git rm -rq src/lab tests/lab scripts/lab conf/lab docs/gallery
	@rm -rf src/lab tests/lab scripts/lab conf/lab docs/gallery  # what git does not know: compiled files
	@echo "the laboratory is gone; git commit keeps it so, git reset --hard brings it back"

clean: ## remove caches; the environment, data/, outputs/ and multirun/ stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .coverage .coverage.* htmlcov dist
	@find conf scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	@rm -rf .venv .uv

.venv/.ready: requirements/dev.txt pyproject.toml | $(UV)
	@$(CHECK_PYTHON)
	@echo "setting up .venv: a few minutes, once"
	@test -x $(BIN)/python || $(UV) venv $(QUIET) --clear --python "$$(command -v $(PYTHON))" .venv
	@$(UV) pip sync $(QUIET) --python .venv --require-hashes --compile-bytecode requirements/dev.txt
	@$(UV) pip install $(QUIET) --python .venv --no-deps --editable .
	@$(BIN)/python -m compileall -q src
	@touch $@

# Only where the machine has no uv of its own.
.uv/bin/uv: requirements/uv.txt
	@$(CHECK_PYTHON)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "error: $(PYTHON) has no venv module; Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "getting uv into .uv"
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@
