# Nothing but Python 3.11+ and make is needed: each target makes the environment it runs in.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test chaos hosts bench demo-data lint reference lock clean

help: ## What each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(VENV)/run.stamp ## Start web, worker, the demo clinic and the sandbox CRM
	@exec $(BIN)/frontdesk serve --demo

test: $(VENV)/dev.stamp ## Run every test: both databases, a real browser, killed processes
	@$(BIN)/python -m tests.needs
	@$(BIN)/python -m pytest $(ARGS)

chaos: $(VENV)/dev.stamp ## Kill, stop and cut off everything at random: ten minutes, or SECONDS=40 SEED=1 PARTS=kills
	@SECONDS="$(SECONDS)" SEED="$(SEED)" PARTS="$(PARTS)" $(BIN)/python -W ignore -m tests.chaos

hosts: $(VENV)/dev.stamp ## Ten hosts made of network namespaces, cut off and killed one by one: four minutes, as root on Linux
	@SEED="$(SEED)" $(BIN)/python -W ignore -m bench.hosts

bench: $(VENV)/dev.stamp ## How fast it is, as ratios against bare limits: under ten minutes, or SECONDS=200 SEED=1 PARTS=intake
	@SECONDS="$(SECONDS)" SEED="$(SEED)" PARTS="$(PARTS)" $(BIN)/python -W ignore -m bench

demo-data: $(VENV)/run.stamp ## Fill a store with invented enquiries: LEADS=10000, in DATA=data-demo
	@FRONTDESK_DATA_DIR="$(or $(DATA),data-demo)" $(BIN)/frontdesk demo-data --leads $(or $(LEADS),10000)

lint: $(VENV)/dev.stamp ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

reference: $(VENV)/dev.stamp ## Write the pages of docs/reference that are drawn from the code
	@$(BIN)/python -m docs.generate

lock: ## Pin every dependency anew (needs uv)
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 --group build pyproject.toml -o requirements.lock
	uv pip compile -q --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 --group build --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove the environment (never the data)
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Frontdesk needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(BIN)/python requirements.lock pyproject.toml
	@echo "Preparing the environment (about a minute, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
