PY ?= python3
V := .venv
BIN := $(V)/bin
SERVICES := .venv-services
WORKERS ?= 2

.PHONY: help demo test test-slow test-services test-web test-qgis check lint types docs bench constraints clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(V)/.core: pyproject.toml constraints.txt
	$(PY) -m venv $(V)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(V)/.test: $(V)/.core
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[train,test,grammar,docs,dev]'
	touch $@

demo: $(V)/.core ## install selion and map a simulated scene: demo/report.html
	$(BIN)/selion demo --force

test: $(V)/.test ## install what the tests need and run them
	$(BIN)/python -m pytest -q -n $(WORKERS)

test-slow: $(V)/.test ## run the tests that take more than ten seconds, such as a language model that learns
	$(BIN)/python -m pytest -q -m slow

test-services: $(V)/.test ## test the search against the real stac-fastapi-pgstac, where it and PostgreSQL can be had
	@tests/prepare_services.sh $(PY) $(SERVICES)
	SELION_SERVICES_PYTHON=$(SERVICES)/bin/python $(BIN)/python -m pytest -q tests/imagery/test_pgstac.py tests/imagery/test_services_archive.py

test-web: $(V)/.test ## test the pages in a real Chromium, installed where it can be
	@tests/prepare_web.sh
	$(BIN)/python -m pytest -q tests/web

test-qgis: $(V)/.test ## test the plugin in the real QGIS, installed where it can be
	@tests/prepare_qgis.sh
	$(BIN)/python -m pytest -q tests/qgis/test_qgis.py

check: lint types docs test ## everything that must be green before a change lands

lint: $(V)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(V)/.test
	$(BIN)/mypy

$(V)/.docs: $(V)/.test
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	touch $@

docs: $(V)/.docs ## check the command line reference, run the tutorials and build the pages: site/index.html
	$(BIN)/python docs/reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict

bench: $(V)/.test ## print the benchmark table (ratios in one run)
	$(BIN)/python bench/run.py

constraints: $(V)/.test ## resolve the versions anew, for every platform, without addresses
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml -o constraints.txt

clean:
	rm -rf $(V) $(SERVICES) demo site .executed dist .pytest_cache .mypy_cache .ruff_cache
