# One environment per Python version, made once and again when pyproject.toml changes.
# Another Python: make test PYTHON=python3.13

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv/$(VERSION)
BIN := $(VENV)/bin
CONFIG ?= configs/digits/article.toml
# A part of the tests: make test T=tests/linen
T ?=
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4

# The tests with the lowest versions that pyproject.toml allows: make lowest PYTHON=python3.11
LOWEST := .venv/lowest

.PHONY: run test quick slow lowest docs dist experiments bench-accelerator lint fix clean

run: $(VENV)/.run
	$(BIN)/jbn run $(CONFIG)

# Twice: compiled fast, and for some tests as users compile (tests/conftest.py). 5: T has none.
test: $(VENV)/.test
	$(PYTEST) $(T)
	JBN_TEST_OPTIMIZED=1 $(PYTEST) -m optimized $(T) || [ $$? -eq 5 -a -n "$(T)" ]

# The core's laws, at one dtype; configs; errors. Under a minute.
quick: $(VENV)/.test
	$(PYTEST) -m quick tests

# What takes minutes, and `make test` leaves out.
slow: $(VENV)/.dev
	JBN_TEST_SLOW=1 $(PYTEST) -m slow $(T)

lowest: $(LOWEST)/.test
	$(LOWEST)/bin/python -m pytest -n auto --maxprocesses 4 $(T)

# The code in the pages runs; then the site is built, in docs/_build.
docs: $(VENV)/.docs
	JBN_TEST_SLOW=1 $(PYTEST) tests/test_docs.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs . docs/_build
	@echo "open docs/_build/index.html"

# The files to publish, in dist/: checked, and installed into an empty environment.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	JBN_TEST_SLOW=1 JBN_DIST=dist $(BIN)/python -m pytest tests/test_dist.py

experiments: $(VENV)/.run $(VENV)/.download
	$(BIN)/python experiments/claims.py --small
	$(BIN)/python experiments/report.py
	$(BIN)/python experiments/write_numbers.py

bench-accelerator: $(VENV)/.run $(VENV)/.export
	$(BIN)/python experiments/bench/accelerator.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .compiled .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find jbn tests experiments -name __pycache__ -prune -exec rm -rf {} +

$(LOWEST)/.test: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
		--resolution lowest-direct --editable '.[test]'
	@touch $@

$(VENV)/.%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"jbn needs Python 3.11 or later; this is " + sys.version.split()[0] + \
		". Name another: make $(MAKECMDGOALS) PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@
