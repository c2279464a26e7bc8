PYTHON ?= .venv/bin/python

.PHONY: check test lint types slow bench audit
check: lint types test

lint:
	$(PYTHON) -m ruff check autokd tests benchmarks examples

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest

slow:
	$(PYTHON) -m pytest -m slow

bench:
	$(PYTHON) -m benchmarks

audit:  # known faults of the packages installed beside autokd; needs the network
	$(PYTHON) -m pip_audit --local
