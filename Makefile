# Every target sets up what it needs first: its own virtual environment in .venv, at the versions of constraints.txt.
# The second call starts at once. Variables: PYTHON (which interpreter), MULTUM_TORCH (cpu, cuda or the URL of an index;
# unset: decided by what this machine has), ARGS (passed on to the command).

ARGS ?=
WORKERS ?= 2
export PYTHON MULTUM_TORCH

SETUP = @sh scripts/setup.sh
BIN = .venv/bin
# One thread per worker, and none that spins while it waits: workers share the cores.
CALM = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.PHONY: help demo test lint types imports docs figures bench clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | while IFS= read -r line; do \
	    printf '  make %-9s %s\n' "$${line%%:*}" "$${line##*## }"; done

demo: ## the main job: a real model on real text, and a report to look at
	$(SETUP) demo
	@$(BIN)/multum demo --resume $(ARGS)

test: ## all tests; ARGS=--cov also counts the lines they reach, at half their speed
	$(SETUP) test
	@$(CALM) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: ## style and formatting
	$(SETUP) lint
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: ## static types
	$(SETUP) lint test
	@$(BIN)/mypy $(ARGS)

imports: ## the rings: imports go inward only
	$(SETUP) lint
	@$(BIN)/lint-imports $(ARGS)

docs: ## the documentation site, into docs/_build/html
	$(SETUP) docs demo
	@$(CALM) $(BIN)/python -m sphinx -q -W --keep-going -j 2 $(ARGS) docs docs/_build/html
	@echo 'The site: docs/_build/html/index.html'

figures: ## every figure with its goal, from the committed results
	$(SETUP) bench
	@$(BIN)/python -m benchmarks figures $(ARGS)

bench: ## the environment of the benchmarks, and what can be measured in it
	$(SETUP) bench
	@$(CALM) $(BIN)/python -m benchmarks $(if $(ARGS),$(ARGS),--help)

clean: ## take away all that the targets made, but no run folder
	rm -rf .venv build dist docs/_build docs/api/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	    .import_linter_cache .coverage coverage.xml
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} +
