# The first of these that runs and is new enough; another one: make PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STAMP := $(VENV)/.installed
WORKERS ?= 2
# The real engine of the end-to-end tests has an environment of its own: it pins other versions of what we need, and takes 2.6 GB.
E2E_VENV ?= .venv-e2e
E2E_STAMP := $(E2E_VENV)/.installed
ENGINE := tests/e2e/engine

.DEFAULT_GOAL := help
.PHONY: help demo test e2e check golden bench clean

help: ## show this list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on PATH. Install one, or: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt hatchling
	$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## plan 27 tenants onto shared GPUs, start emulated engines, replay a real trace, tear down
	$(BIN)/ullage demo

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS)

$(E2E_STAMP): $(ENGINE)/pins.txt $(ENGINE)/install.sh
	$(ENGINE)/install.sh $(E2E_VENV) $(BIN)/python
	@touch $(E2E_STAMP)

e2e: $(STAMP) ## the tests on a real vLLM (CPU build, 2.6 GB, installed on first use)
	@$(MAKE) --no-print-directory $(E2E_STAMP)
	PYTHONDONTWRITEBYTECODE= ULLAGE_VLLM=$(E2E_VENV)/bin/vllm $(BIN)/python -m pytest tests/e2e -m vllm -p no:xdist --durations=0

check: $(STAMP) ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: $(STAMP) ## rewrite the golden files from what the code renders now
	$(BIN)/python -m pytest tests -m golden --update-golden

bench: $(STAMP) ## run every benchmark small, on shipped data
	$(BIN)/python -m benchmarks.all_small

clean: ## remove the environment, caches and build results
	rm -rf $(VENV) $(E2E_VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
