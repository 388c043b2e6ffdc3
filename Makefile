# make demo: install, run a whole design, say where to look.   make test: install, run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-long check clean

demo: $(STAMP)
	$(BIN)/autoreward design doorkey16 --iterations 2 --candidates 3 --model offline/search

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadfile

test-long: $(STAMP)
	$(BIN)/pytest -m long --timeout 3600

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
