# Every target sets up what it needs in a virtual environment of its own, .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench soak clean
.DELETE_ON_ERROR:

# Tests start hundreds of processes, each of which would compile all sources anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(READY) ## telemetry, training, registration, decisions and a report on a small synthetic fleet
	$(BIN)/fogline demo

test: $(READY) ## all tests
	$(BIN)/pytest -n 2 --dist worksteal

test-fast: $(READY) ## the tests that are not marked slow
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal

check: $(READY) ## lint, format, types, import contracts, all tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist worksteal

bench: $(READY) ## benchmarks
	$(BIN)/python -m benchmarks

soak: $(READY) ## a long run under load and faults
	$(BIN)/python -m benchmarks.soak
	FOGLINE_THOROUGH=1 $(BIN)/pytest tests/scheduler/test_interrupts.py tests/scheduler/test_forks.py tests/scheduler/forest/test_leaves.py tests/scheduler/rollout tests/scheduler/snapshot tests/scheduler/decisions/record/test_kill.py tests/training/cli/test_compile.py

clean: ## remove the environment, caches and build output
	rm -rf .venv build dist .fogline .coverage .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Hashes first, then the checkout itself. constraints.txt is complete, so nothing more is looked for: pip would
# refuse extras of packages (coverage[toml]) that stand there without them.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"fogline needs Python 3.11 to 3.13, $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.13")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement constraints.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
