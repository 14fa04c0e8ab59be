# Everything from nothing but Python and make: each target creates what it needs in .venv.
#   make demo                                       train on the generated workload, print the comparison
#   TRACE=path/to/google-clusterdata-2011-2 make demo   the same on the real trace
#   make test                                       the tests
#   make browser                                    Chromium for the tests that look at the leaderboard's page
#   make leaderboard                                verify new submissions (BASE=commit: those changed since; TRACE=table
#                                                   of an imported trace: also their results on it), render site/
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRACE ?=
DEMO_MINUTES ?= 3
PYTEST_OPTIONS ?= -n 2 --dist loadfile --no-loadscope-reorder
BASE ?=

.PHONY: demo test browser leaderboard lint types format wheel clean help

help:
	@sed -n 's/^#   //p' Makefile

INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/usable: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[all]'
	touch $@

$(VENV)/installed: $(VENV)/usable
	$(INSTALL) '.[test]'
	touch $@

demo: $(VENV)/usable
	$(BIN)/python benchmarks/demo.py --minutes $(DEMO_MINUTES) $(if $(TRACE),--trace '$(TRACE)')

test: $(VENV)/installed
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

browser: $(VENV)/installed
	$(BIN)/python -m playwright install chromium

leaderboard: $(VENV)/installed
	$(BIN)/python benchmarks/leaderboard/build.py --out site $(if $(BASE),--changed-since '$(BASE)') $(if $(TRACE),--trace '$(TRACE)')

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: $(VENV)/installed
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
