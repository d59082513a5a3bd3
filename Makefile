# Two commands do everything on a fresh Debian 12 or 13 machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all lint bench clean

$(READY): pyproject.toml tests/setup-venv
	PYTHON=$(PYTHON) sh tests/setup-venv $(VENV)
	touch $(READY)

$(VENV)/.tools: $(READY) tests/setup-tools
	sh tests/setup-tools
	touch $(VENV)/.tools

demo: $(READY)
	$(BIN)/python examples/demo.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint $(VENV)/.tools
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: lint $(VENV)/.tools
	$(BIN)/python -m pytest -n 2

bench: $(READY)
	$(BIN)/python bench/run.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
