# SPDX-License-Identifier: MIT
# Every target does its own set-up: a private environment in .venv from the lock files, nothing else is touched.
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# python3, or one that is faster; looked for only where an environment is made.
ifeq ($(origin PYTHON),undefined)
PYTHON = $(eval PYTHON := $(or $(shell python3 installed/interpreter.py),python3))$(PYTHON)
endif
VENV := .venv
BIN := $(VENV)/bin
PLATFORMS ?= lnl bmg bmg2

# Without bytecode from an earlier run, each worker compiles all that it imports, which is half of its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: conformance
conformance: $(VENV)/run.stamp ## run the suite on the mock, one column a platform; reports/out shows the reports
	@$(BIN)/python -m pytest $(PLATFORMS:%=--platform %) $(ARGS)

KERNEL ?= $(shell sed -n 's/^DEFAULT_KERNEL = "\(.*\)"/\1/p' common/kernels.py)
GPUS ?= 1
TOPOLOGY ?=
# Guests of each kernel at a time: as many as there are processors, and 5 GB of memory for each.
GUESTS ?= $(shell n=$$(nproc); m=$$(awk '/^MemAvailable/ {print int($$2 / 5242880)}' /proc/meminfo); \
	[ $$m -lt $$n ] && n=$$m; n=$$((n / $(words $(KERNEL)))); echo $$((n > 1 ? n : 1)))

.PHONY: guest
guest: $(VENV)/run.stamp ## run the suite on the real driver in a guest: KERNEL=7.3 (several: "7.3 7.0"), GPUS=2, TOPOLOGY=far, MODULE=xe.ko, GUESTS=2
	@$(BIN)/python -m pytest $(KERNEL:%=--guest %) -n $(GUESTS) --gpus $(GPUS) $(TOPOLOGY:%=--topology %) $(MODULE:%=--module %) $(ARGS)

.PHONY: findings
findings: $(VENV)/run.stamp ## run the programs of docs/findings in a guest: KERNEL=7.3
	@$(BIN)/python -m tests.reproduce.findings --guest $(KERNEL)

.PHONY: test
test: $(VENV)/dev.stamp ## the project's own tests, ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests -n 2 $(ARGS)

.PHONY: soak
soak: $(VENV)/dev.stamp ## a million ioctls and 100,000 batches of hostile clients against lnl and bmg2, and 100 runs that lose a process
	@$(BIN)/python -m tests.mock.soak $(ARGS)
	@$(BIN)/python -m tests.trust.killing

.PHONY: bench
bench: $(VENV)/run.stamp ## benchmarks; those of guests: ARGS="guest --kernel 7.3"
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: setup
setup: $(VENV)/run.stamp $(VENV)/dev.stamp ## only set up the environment

.PHONY: lock
lock: ## write the newest releases into requirements/*.lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install -q pip-tools
	cd requirements && for set in run dev; do ../$(VENV)-lock/bin/pip-compile -q --upgrade --generate-hashes \
		--strip-extras --no-emit-index-url --no-emit-find-links --no-emit-options -o $$set.lock $$set.in || exit; done
	rm -rf $(VENV)-lock

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("svm-cts needs Python 3.11 or later, $(PYTHON) is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "svm-cts: $(PYTHON) cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/run.stamp: requirements/run.lock | $(VENV)/bin/pip
	@$(BIN)/python -m installed.environment $<
	@ln -sf ../../svmcts $(BIN)/svmcts
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/run.stamp
	@$(BIN)/python -m installed.environment $<
	@touch $@

.PHONY: wheel
wheel: $(VENV)/bin/pip ## dist/svm_cts-VERSION-py3-none-any.whl, to install and run anywhere
	@$(BIN)/pip wheel -q --disable-pip-version-check --no-deps -w dist .

.PHONY: clean
clean: ## remove everything that these targets made
	rm -rf $(VENV) dist reports/out benchmarks/out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
