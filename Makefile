# Every target sets up what it needs by itself (.ci/setup: venv, LLVM, torch, this package); no venv has to be active.
.PHONY: help setup demo test test-slow test-studio test-gpu fuzz lint bench clean
.DEFAULT_GOAL := help

BIN := .venv/bin
# Photos, environments and meshes for the tests marked `data`; those are skipped where it does not exist.
DIPIR_DATA ?= $(abspath ../shared/data)
export DIPIR_DATA
# Of test-gpu alone, which sets nothing up: `make test-gpu PYTHON=python3` where the packages are installed by hand.
PYTHON ?= $(BIN)/python

help:
	@echo "make demo       insert two objects into the shipped plate; says where the picture is"
	@echo "make test       all tests but the slow ones and those that need a GPU"
	@echo "make test-slow  the slow tests"
	@echo "make test-studio the studio's tests, with those in a browser (gets chromium by apt when there is none)"
	@echo "make test-gpu   the tests that need a GPU; PYTHON=python3 for an interpreter of your own"
	@echo "make fuzz       10,000 files that were changed, for every reader; FUZZ=N for another number"
	@echo "make lint       style checks"
	@echo "make bench      the benchmark tables (long)"
	@echo "make clean      remove outputs and caches (keeps .venv; remove that by hand)"

setup:
	@.ci/setup

demo: setup
	@$(BIN)/dipir insert scenes/demo.yaml --out out/demo
	@$(BIN)/python assets/build/before_after.py out/demo
	@echo "picture: $(CURDIR)/out/demo/composite.png"
	@echo "before/after, light and curves: $(CURDIR)/out/demo/report.html"

test: setup
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not gpu"

# The browser's tests are skipped where there is no chromium; here they are meant.
test-studio: setup
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	    { command -v sudo >/dev/null && sudo apt-get install -y -q chromium || apt-get install -y -q chromium; }
	$(BIN)/python -m pytest tests/studio tests/cli/verbs/test_studio.py

# The device is said, so that a GPU that cannot be used is an error and not a run on the CPU.
test-gpu:
	DIPIR_DEVICE=cuda PYTHONPATH=$(CURDIR) $(PYTHON) -m pytest -m gpu tests/gpu

# Inputs are others each time; one that goes wrong is kept in tests/fuzz/found, to be named and committed.
FUZZ ?= 10000
fuzz: setup
	FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz

# assets/build holds sources, but by its name ruff would pass over it.
lint: setup
	bash -n .ci/setup
	bash -n .ci/run
	bash -n benchmarks/gpu_machine.sh
	$(BIN)/ruff check . assets/build/*.py

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf out runs build dist .pytest_cache .ruff_cache .hypothesis .coverage
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
