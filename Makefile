# make help lists the targets.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(CURDIR)/.venv-bench
QUALITY := $(CURDIR)/.venv-quality
SITE := $(CURDIR)/.venv-docs

# Another Python than the one that .venv was made with, where one is named (PYTHON=… of the command line or the environment):
# .venv is made anew. Without one, .venv stays as it is, whatever python3 is at the moment.
WHICH := import sys; print(sys.base_prefix, sys.version)
ifneq ($(filter-out file,$(origin PYTHON)),)
ifneq ($(wildcard $(BIN)/python),)
ifneq ($(shell $(PYTHON) -c '$(WHICH)' 2>&1),$(shell $(BIN)/python -c '$(WHICH)' 2>&1))
OTHER_PYTHON := other-python
endif
endif
endif

.PHONY: setup help demo test integration services services-down check docs bench bench-live bench-truth bench-quality lock clean other-python

setup: $(STAMP)  ## .venv with the locked dependencies and the command hvac (the default); PYTHON=python3.12 chooses the Python

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-14s %s\n", $$1, $$2 }'

# The lock files carry hashes; uv itself comes from one of them.
$(STAMP): requirements.lock requirements-installer.lock pyproject.toml $(OTHER_PYTHON)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(if $(OTHER_PYTHON),echo "making .venv anew with $$($(PYTHON) --version)"; rm -rf $(VENV))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-installer.lock
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# SERVICES=1: on Kafka and Cassandra, which it starts (make services-down stops them).
demo: setup  ## simulated days that are learned from, one with labelled faults, a report, then live; ONCE=1, PORT=…, DASHBOARD_PORT=…, SERVICES=1
	@$(if $(SERVICES),$(BIN)/python -m devtools.services run -- )$(BIN)/hvac demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(DASHBOARD_PORT),--dashboard-port $(DASHBOARD_PORT))

# Whole files go to one of three processes, on two cores: many tests wait for servers, clocks and processes. Coverage is of
# those three; what tests start as processes of their own isn't counted.
test: setup  ## all tests that need no server, and the coverage of the package; COVERAGE=no leaves that out
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(filter no,$(COVERAGE)),,--cov=hvac_platform)

# The tests against real servers, which they start themselves on ports of their own.
integration: setup  ## the tests on real servers, which they start
	@HVAC_SERVICES=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder hvac_platform_tests/integration

# Kafka, Cassandra and Ollama on loopback. Some of them: make services ONLY=kafka
services: setup  ## start Kafka, Cassandra and Ollama on loopback; ONLY=kafka starts some
	@$(BIN)/python -m devtools.services up $(ONLY)

services-down: setup  ## stop them
	@$(BIN)/python -m devtools.services down $(ONLY)

check: setup  ## lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# SERVICES=1: on Kafka and Cassandra, beside stream processors in an environment of their own. Some parts: ONLY="streams cql"
bench: setup $(if $(SERVICES),$(PEERS)/.installed)  ## how fast; SERVICES=1 measures on servers, beside stream processors
	@$(if $(SERVICES),$(BIN)/python -m devtools.services run kafka cassandra -- env PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.servers $(ONLY) --peers-python $(PEERS)/bin/python $(if $(DAYS),--days $(DAYS)),$(BIN)/python -m benchmarks.run)

$(PEERS)/.installed: benchmarks/peers/requirements.lock | $(STAMP)
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --require-hashes -r benchmarks/peers/requirements.lock
	@touch $@

# OPTIONS: --interval, --run-minutes, --empty-seconds. SERVICES=1: on Kafka and Cassandra.
bench-live: setup  ## delays, processor and disk of live operation; DEVICES=5 MINUTES=4, OPTIONS=…
	@$(if $(SERVICES),$(BIN)/python -m devtools.services run kafka cassandra -- env PYTHONPATH=$(CURDIR) )$(BIN)/python -m benchmarks.live --devices $(or $(DEVICES),5) --minutes $(or $(MINUTES),4) $(OPTIONS)

# OPTIONS: --removals, --devices, --days, --seed.
bench-truth: setup  ## points that stop: how many are told, how soon, and how many falsely; OPTIONS=…
	@$(BIN)/python -m benchmarks.truth $(OPTIONS)

# How well faults are found, beside PyOD in an environment of its own. DATA=path adds SKAB and NAB, a server at
# OLLAMA_BASE_URL the text embedding; further options: make bench-quality OPTIONS="--only skab --seeds 921 922"
bench-quality: setup $(QUALITY)/.installed  ## how well faults are found, beside PyOD; DATA=…, OPTIONS=…
	@PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(QUALITY)/bin/python -m benchmarks.quality $(if $(DATA),--data $(DATA)) $(OPTIONS)

$(QUALITY)/.installed: benchmarks/quality.requirements.lock | $(STAMP)
	@test -x $(QUALITY)/bin/python || $(PYTHON) -m venv $(QUALITY)
	@$(BIN)/uv pip install --quiet --python $(QUALITY)/bin/python --require-hashes -r benchmarks/quality.requirements.lock
	@touch $@

# An environment of its own, because nothing of it is needed to run, test or change the code.
docs: $(SITE)/.installed  ## the documentation as a site in site/, built strictly
	@NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet --site-dir site
	@echo "site/index.html"

$(SITE)/.installed: docs/requirements.lock | $(STAMP)
	@test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	@$(BIN)/uv pip install --quiet --python $(SITE)/bin/python --require-hashes -r docs/requirements.lock
	@touch $@

lock: setup  ## write the lock files anew, with hashes
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev --extra cluster --extra fast pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --constraints requirements.lock pyproject.toml benchmarks/quality.requirements.in -o benchmarks/quality.requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 docs/requirements.in -o docs/requirements.lock

clean:  ## remove environments, the site, and all data in .hvac and .dagster
	rm -rf $(VENV) $(PEERS) $(QUALITY) $(SITE) site .dagster .hvac
