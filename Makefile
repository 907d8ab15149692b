# make run          set up and measure (on a CPU-only machine: every case on a small model, 3 minutes)
# make test         set up and run all checks and tests but the stacks
# make check        ruff, mypy and the unit tests: for every save
# make affected     the unit tests that a change since the last call can affect, and a few real runs
# make test-long    what takes longer: stacks with old and new torch (gigabytes on Linux), compared,
#                   environments that are broken on purpose, the wheel without torch, every write that
#                   fails once, and the tests marked `long` (of which `make test` has a few of each kind)
# make test-stacks  only the first part of it
# make test-bare    the wheel in an environment without torch
# make test-writes  every write that fails once
# make tests-long   the tests marked `long`
# make test-times   where the time of `make test` goes
# make test-loaded  the tests while other processes keep every core busy: none may depend on time
# make goldens      record again what the verbs print about the runs in git, and the pages of docs that
#                   and outputs in README that the code determines; then read git diff
# make docs         the documentation site, in site/
# make outputs      the same for README.md, with the output that needs torch and a C++ compiler
# make coverage     which lines and branches the tests run, in every process they start
# make mutants      plant 80 seeded faults and count those that the tests catch (after make coverage)
# make fuzz         changed run folders, configurations, logs and pictures through every reading verb,
#                   for an hour (ARGS="--minutes 600 --seed 7"); what breaks is kept in fuzz-found
# make fuzz-holes   plant ten seeded holes in the code that reads and count those the fuzzer finds
# make bench        set up and run the project's own micro-benchmarks
# make dist         the package, in dist/, as a release has it
# make reports      write the reports of all runs in results/ again

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Options for `make run`, e.g. make run ARGS="full --dry-run"
ARGS ?=

# Python 3.10 has the tested set with torch 1.13.1; later ones the newest.
CONSTRAINTS = $(shell $(PYTHON) -c 'import sys; \
	print("configs/constraints/torch-%s.txt" % ("2.13" if sys.version_info >= (3, 11) else "1.13"))')
# Compiling in parallel afterwards takes half the time of pip's own.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	--constraint $(CONSTRAINTS)
COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true

# Without compiled modules every process of a test compiles all of sdbench, and pytest its tests.
export PYTHONDONTWRITEBYTECODE =

PYTEST = $(BIN)/python -m pytest
# One process more than there are cores, because tests also wait: for a timeout, for a hung worker.
# Each process that a test starts has one thread (tests/integration/conftest.py).
TOGETHER = -n $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)') --dist worksteal tests/integration tests/browser tests/unit
COVERAGE = COVERAGE_CHECKOUT=$(CURDIR)
COUNTED = --cov --cov-config=tests/coverage.rc --cov-context=test --cov-report=

.PHONY: run test check lint types affected tests-unit tests-together tests-alone tests-standin \
	tests-long test-stacks test-environments test-bare test-writes test-long test-loaded test-times coverage mutants \
	fuzz fuzz-holes bench reports goldens docs outputs dist clean

run: $(VENV)/.run
	$(BIN)/sdbench run $(ARGS)

test: $(VENV)/.test lint
	+$(MAKE) --no-print-directory -j3 types tests-standin tests-together
	+$(MAKE) --no-print-directory tests-alone

check: $(VENV)/.test lint
	+$(MAKE) --no-print-directory -j2 types tests-unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

affected: $(VENV)/.test
	$(PYTEST) --testmon -x -m "not long" tests/unit || [ $$? = 5 ] # 5: nothing is affected
	@if git status --porcelain sdbench | grep -qE 'sdbench/(cli|doctor|localise|models|process|runner|runs|worker)/'; \
		then $(PYTEST) -x -m smoke tests/integration; fi

tests-unit: $(VENV)/.test
	$(PYTEST) -n logical --dist worksteal -m "not long" tests/unit

tests-together: $(VENV)/.test
	$(PYTEST) $(TOGETHER) -m "not alone and not long"

tests-alone: $(VENV)/.test
	$(PYTEST) -m alone tests/integration

# Long proofs, side by side. (One that needs the machine for itself is not marked long.)
tests-long: $(VENV)/.test
	$(PYTEST) $(TOGETHER) -m "long and not alone"

# The stand-in device takes over the process that loads it, so its own tests run apart; it needs
# Linux and the torch it was written for. (diffusers' own warnings are no concern of theirs.)
tests-standin: $(VENV)/.test
	case "$$(uname)-$(CONSTRAINTS)" in \
		Linux-*2.13.txt) $(PYTEST) -W default tests/standin/tests ;; esac

# What is downloaded stays in uv's own cache; everything else is made from nothing and removed.
test-stacks: $(VENV)/.test
	$(PYTEST) tests/stacks/test_torch_stacks.py

# Three environments that are broken on purpose, found by doctor, run and explain.
test-environments: $(VENV)/.test
	$(PYTEST) tests/stacks/test_broken_environments.py

# The wheel, installed into an environment that has no torch.
test-bare: $(VENV)/.test
	$(PYTEST) tests/stacks/test_bare_environment.py

# A run is stopped at every call that changes the disk, or the call fails; then it is resumed.
test-writes: $(VENV)/.test
	SDBENCH_TEST_WRITES=all $(PYTEST) -n logical --dist worksteal tests/unit/test_every_write.py

test-long: test-stacks test-environments test-bare test-writes tests-long

test-loaded: $(VENV)/.test
	$(BIN)/python tools/under_load.py --times 2 $(MAKE) tests-together tests-alone tests-standin

test-times: $(VENV)/.test
	$(BIN)/python tools/test_times.py $(ARGS)

coverage: $(VENV)/.test
	rm -rf .coverage-data
	$(COVERAGE) $(PYTEST) $(COUNTED) $(TOGETHER) -m "not alone"
	$(COVERAGE) $(PYTEST) $(COUNTED) --cov-append -m alone tests/integration
	-$(COVERAGE) $(BIN)/coverage combine --append --rcfile=tests/coverage.rc # of a killed process: torn
	$(COVERAGE) $(BIN)/coverage json --rcfile=tests/coverage.rc -q -o .coverage-data/coverage.json
	$(BIN)/python tools/coverage_table.py reduce .coverage-data/coverage.json .coverage-data/table.json
	$(BIN)/python tools/coverage_table.py compare tests/proof/coverage-after.json .coverage-data/table.json

mutants: $(VENV)/.test
	$(BIN)/python tools/mutants.py --coverage .coverage-data/data $(ARGS)

fuzz: $(VENV)/.test
	$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

fuzz-holes: $(VENV)/.test
	$(BIN)/python tools/fuzz_holes.py $(ARGS)

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks

reports: $(VENV)/.run
	@for run in results/*/run.json; do \
		$(BIN)/sdbench report "$${run%/run.json}" -o "$${run%/run.json}/report.html" && \
		$(BIN)/sdbench report "$${run%/run.json}" -o "$${run%/run.json}/report.md" || exit 1; done

goldens: $(VENV)/.test
	$(BIN)/python tests/unit/goldens.py
	$(BIN)/python tools/make_reference.py

docs: $(VENV)/.test
	$(BIN)/python -m mkdocs build --strict

# README shows a fault on the stand-in device, which needs Linux, torch 2.13 and a C++ compiler.
outputs: $(VENV)/.test
	$(BIN)/python tools/make_reference.py --all

dist: $(VENV)/.test
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist

clean:
	rm -rf $(VENV)

$(VENV)/.run: pyproject.toml configs/constraints/*.txt
	@echo "Setting up $(VENV): torch, diffusers and what they need (once, some minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[torch]'
	$(COMPILE)
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(INSTALL) --editable '.[test]'
	@touch $@
