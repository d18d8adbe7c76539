PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check golden bench clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: $(STAMP) ## plan 27 tenants onto shared GPUs, start emulated engines, replay a real trace, tear down
	$(BIN)/ullage demo

test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS)

check: $(STAMP) ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

golden: $(STAMP) ## rewrite the golden files from what the code renders now
	$(BIN)/python -m pytest tests -m golden --update-golden

bench: $(STAMP) ## run every benchmark on the shipped example data
	$(BIN)/python -m benchmarks.consolidation examples/demo/arena27.csv.gz

clean: ## remove the environment, caches and build results
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
