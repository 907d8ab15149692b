# make run    set up and measure (on a CPU-only machine: every case on a small model, 3 minutes)
# make test   set up and run all checks and tests
# make test-stacks  set up, create stacks with old and new torch (gigabytes on Linux), compare them
# make bench  set up and run the project's own micro-benchmarks
# make reports  write the reports of all runs in results/ again

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

# The stand-in device takes over the process that loads it, so its own tests run apart; it needs
# Linux and the torch it was written for. (diffusers' own warnings are no concern of theirs.)
STANDIN_TESTS = case "$$(uname)-$(CONSTRAINTS)" in \
	Linux-*2.13.txt) $(BIN)/python -m pytest -W default tests/standin/tests ;; esac

.PHONY: run test test-stacks bench reports clean

run: $(VENV)/.run
	$(BIN)/sdbench run $(ARGS)

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit tests/integration tests/browser
	$(STANDIN_TESTS)

# What is downloaded stays in uv's own cache; everything else is made from nothing and removed.
test-stacks: $(VENV)/.test
	$(BIN)/python -m pytest tests/stacks

bench: $(VENV)/.test
	$(BIN)/python -m pytest tests/benchmarks

reports: $(VENV)/.run
	@for run in results/*/run.json; do \
		$(BIN)/sdbench report "$${run%/run.json}" -f html && \
		$(BIN)/sdbench report "$${run%/run.json}" -f md || exit 1; done

clean:
	rm -rf $(VENV)

$(VENV)/.run: pyproject.toml configs/constraints/*.txt
	@echo "Setting up $(VENV): torch, diffusers and what they need (once, some minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	$(COMPILE)
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(INSTALL) --editable '.[test]'
	@touch $@
