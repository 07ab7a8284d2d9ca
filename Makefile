# Every target sets up what it needs by itself (.ci/setup: venv, LLVM, torch, this package); no venv has to be active.
.PHONY: help setup demo test test-slow lint bench clean
.DEFAULT_GOAL := help

BIN := .venv/bin
# Photos, environments and meshes for the tests marked `data`; those are skipped where it does not exist.
DIPIR_DATA ?= $(abspath ../shared/data)
export DIPIR_DATA

help:
	@echo "make demo       insert two objects into the shipped plate; says where the picture is"
	@echo "make test       all tests but the slow ones"
	@echo "make test-slow  the slow tests"
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
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

# assets/build holds sources, but by its name ruff would pass over it.
lint: setup
	bash -n .ci/setup
	bash -n .ci/run
	$(BIN)/ruff check . assets/build/*.py

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf out runs build dist .pytest_cache .ruff_cache .hypothesis .coverage
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
