PY ?= python3
V := .venv
BIN := $(V)/bin
BARE := .venv-wheel
SERVICES := .venv-services
# Four workers on two cores: a fourth of the tests' time is waiting, for servers, browsers and children.
WORKERS ?= 4
COUNT ?= 10000
SEED ?= 0
# Many short processes run here: each reads the compiled modules that the first one wrote.
export PYTHONDONTWRITEBYTECODE =
# uv fetches, unpacks and compiles on all cores; where it finds no index, pip installs the same.
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python --compile-bytecode -c constraints.txt -e $(WANTED) || $(BIN)/python -m pip install -q -c constraints.txt -e $(WANTED)
COMPILE = $(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" | $(BIN)/uv pip compile -q --universal --python-version 3.11 --all-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml -

.PHONY: help setup verified services demo test test-slow test-search test-faults test-fuzz test-services test-web test-qgis check lint types docs structure bench wheel constraints clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/uv:
	$(PY) -m venv $(V)
	-$(BIN)/python -m pip install -q -c constraints.txt uv

$(V)/.core: WANTED := .
$(V)/.core: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL)
	touch $@

$(V)/.test: WANTED := '.[train,test,grammar,docs,dev]'
$(V)/.test: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL)
	touch $(V)/.core $@

setup: $(V)/.test ## install what the checks need

verified: WANTED := .
verified: ## install selion into a new .venv, every file of others compared with its hash; WANTED='.[train]' for more
	$(PY) -m venv --clear $(V)
	sed -n '/^uv==/,/[^\]$$/p' constraints-hashed.txt > $(V)/uv.txt
	$(BIN)/python -m pip install -q --require-hashes -r $(V)/uv.txt
	$(BIN)/uv pip install -q --python $(BIN)/python -c constraints-hashed.txt --build-constraints constraints-hashed.txt $(WANTED)

services: ## get the real stac-fastapi-pgstac and PostgreSQL, where they can be had
	@tests/prepare_services.sh $(PY) $(SERVICES)

demo: $(V)/.core ## install selion and map a simulated scene: demo/report.html
	$(BIN)/selion demo --force
	@echo "Open next: demo/report.html in a browser; $(BIN)/selion view demo shows the map, $(BIN)/selion review demo its doubtful fields."

test: $(V)/.test ## install what the tests need and run them
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal -m "not long"

test-slow: $(V)/.test ## run the tests that take more than ten seconds, and those that are too long for make test
	$(BIN)/python -m pytest -q -m "slow or long"

test-search: $(V)/.test ## give the property tests new cases, drawn at random (make test has the same ones each time)
	$(BIN)/python -m pytest -q -n $(WORKERS) -m hypothesis --hypothesis-profile search

test-faults: $(V)/.test ## put every verb through every fault, and lose workers, nodes and stores; the tables: docs/reliability.md
	bad=0; \
	$(BIN)/python bench/fault_stores.py --places 3 --page docs/reliability.md & stores=$$!; \
	$(BIN)/python -m pytest -q -m slow tests/faults tests/runners || bad=1; \
	$(BIN)/python bench/fault_verbs.py --all --places 3 --jobs 2 --page docs/reliability.md || bad=1; \
	wait $$stores || bad=1; \
	exit $$bad

test-fuzz: $(V)/.test ## give every reader 10,000 hostile inputs (hours; COUNT=200 for a look)
	$(BIN)/python bench/fuzz.py --count $(COUNT) --seed $(SEED)

test-services: $(V)/.test services ## test the search against the real stac-fastapi-pgstac, where it and PostgreSQL can be had
	SELION_SERVICES_PYTHON=$(SERVICES)/bin/python $(BIN)/python -m pytest -q tests/imagery/test_pgstac.py tests/imagery/test_services_archive.py

test-web: $(V)/.test ## test the pages in a real Chromium, installed where it can be
	@tests/prepare_web.sh
	$(BIN)/python -m pytest -q tests/web

test-qgis: $(V)/.test ## test the plugin in the real QGIS, installed where it can be
	@tests/prepare_qgis.sh
	$(BIN)/python -m pytest -q tests/qgis/test_qgis.py

check: $(V)/.test ## everything that must be green before a change lands: lint, types, docs, tests
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j 2 docs types lint # one core each
	$(MAKE) --no-print-directory test

lint: $(V)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(V)/.test
	$(BIN)/mypy

docs: $(V)/.test ## check the command line reference, run the tutorials and build the pages: site/index.html
	$(BIN)/python docs/reference.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict

bench: $(V)/.test ## print the benchmark table (ratios in one run)
	$(BIN)/python bench/run.py

structure: $(V)/.core ## draw the packages and what they import: docs/structure.svg
	$(BIN)/python bench/structure.py --svg docs/structure.svg

wheel: $(V)/.core ## build the wheel with its bill of materials, try it in a bare environment
	rm -rf dist $(BARE)
	$(BIN)/python -m pip wheel -q --no-deps -w dist .
	$(PY) -m venv $(BARE)
	$(BARE)/bin/python -m pip install -q -c constraints.txt --report $(BARE)/report.json dist/selion-*.whl
	$(BARE)/bin/python .ci/bill_of_materials.py $(BARE)/report.json dist/selion-*.whl
	$(BARE)/bin/python .ci/check_wheel.py dist/selion-*.whl

constraints: $(V)/.test ## resolve the versions anew, for every platform, without addresses; and the hashes of their files
	$(COMPILE) -o constraints.txt
	$(COMPILE) --generate-hashes -c constraints.txt -o constraints-hashed.txt

clean:
	rm -rf $(V) $(SERVICES) $(BARE) demo demo.manifest.json site .executed dist .pytest_cache .mypy_cache .ruff_cache
