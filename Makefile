# Everything runs in .venv, which these targets make on a machine that has only python3 (3.11 or newer) with venv and pip.
#
#   make demo     the flights example from csv files to answers over HTTP; ends by itself
#   make serve    the examples' endpoints on port 3000, until Ctrl-C
#   make test     the fast tests        make stress   threads, processes, kill -9, full disks
#   make check    ruff, mypy, pyright   make giants   tests that need big packages
#   make bench    the figures of benchmarks/README.md
#   make clean    removes .venv and what the examples stored

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo serve test stress check giants run-giants bench clean

VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 3000
FLIGHTS := examples/flights
EXAMPLES := LORE_HOME=$(CURDIR)/$(FLIGHTS)/.lore PYTHONPATH=$(CURDIR)/$(FLIGHTS):$(CURDIR)/examples

# uv takes seconds where pip's resolver takes minutes; pip is there for machines whose index only pip is set up for.
INSTALL = UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 $(BIN)/uv pip install --quiet --python $(BIN)/python $(WHAT) \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check $(WHAT)

help:
	@sed -n '3,9s/^# \{0,3\}//p' Makefile

demo: $(VENV)/demo.stamp
	@$(EXAMPLES) $(BIN)/python $(FLIGHTS)/demo.py

serve: $(VENV)/demo.stamp
	@cd $(FLIGHTS) && $(EXAMPLES) $(CURDIR)/$(BIN)/python -m flights.pipeline
	@cd examples && $(EXAMPLES) $(CURDIR)/$(BIN)/python -m lore.serve everything:app --host 0.0.0.0 --port $(PORT)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -m "not stress and not giants" $(PYTEST)

stress: $(VENV)/test.stamp
	$(BIN)/python -m pytest -q -m stress $(PYTEST)

# Gigabytes of packages that nobody else needs: an environment of their own.
giants:
	@$(MAKE) --no-print-directory VENV=.venv-giants run-giants

run-giants: $(VENV)/giants.stamp
	$(BIN)/python -m pytest -q -m giants tests/giants $(PYTEST)

check: $(VENV)/test.stamp
	$(BIN)/ruff format --check --exclude '*.md' .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python tests/typing

bench: $(VENV)/bench.stamp
	$(BIN)/python -m pytest benchmarks -q -o python_files='bench_*.py' -p no:cacheprovider $(PYTEST)
	@for script in $$(grep -l __main__ benchmarks/bench_*.py); do \
		printf '\n== %s\n' $$script; $(BIN)/python $$script || exit 1; \
	done

clean:
	rm -rf $(VENV) .venv-giants $(FLIGHTS)/.lore

$(BIN)/uv:
	@python=$$(for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done); \
	test -n "$$python" || { echo "lore needs Python 3.11 or newer:  make PYTHON=/path/to/python3" >&2; exit 1; }; \
	echo "Making $(VENV) with $$python ..."; \
	$$python -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/demo.stamp: WHAT = -e '.[sql,serve,sklearn]' -r $(FLIGHTS)/requirements.txt
$(VENV)/demo.stamp: setup.cfg pyproject.toml $(FLIGHTS)/requirements.txt | $(BIN)/uv
	@$(INSTALL)
	@touch $@

$(VENV)/test.stamp: WHAT = -e '.[all,test,dev]'
$(VENV)/test.stamp: setup.cfg pyproject.toml | $(BIN)/uv
	@$(INSTALL)
	@touch $@ $(VENV)/demo.stamp

$(VENV)/giants.stamp: WHAT = -e '.[all,test]' -r tests/giants/requirements.txt
$(VENV)/giants.stamp: setup.cfg pyproject.toml tests/giants/requirements.txt | $(BIN)/uv
	@$(INSTALL)
	@touch $@

$(VENV)/bench.stamp: WHAT = -e '.[all,test]' -r benchmarks/requirements.txt
$(VENV)/bench.stamp: setup.cfg pyproject.toml benchmarks/requirements.txt | $(VENV)/test.stamp
	@$(INSTALL)
	@touch $@
