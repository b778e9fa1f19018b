# make demo: the platform on two days of simulated history, then live.   make test: all tests.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := $(CURDIR)/.venv-bench
QUALITY := $(CURDIR)/.venv-quality

.PHONY: setup demo test integration services services-down check bench bench-quality lock clean

setup: $(STAMP)

# The lock files carry hashes; uv itself comes from one of them.
$(STAMP): requirements.lock requirements-installer.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-installer.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# SERVICES=1: on Kafka and Cassandra, which it starts (make services-down stops them).
demo: setup
	@$(if $(SERVICES),$(BIN)/python -m devtools.services run -- )$(BIN)/hvac demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(if $(DASHBOARD_PORT),--dashboard-port $(DASHBOARD_PORT))

# Whole files go to one of three processes, on two cores: many tests wait for servers, clocks and processes.
test: setup
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The tests against real servers, which they start themselves on ports of their own.
integration: setup
	@HVAC_SERVICES=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder hvac_platform_tests/integration

# Kafka, Cassandra and Ollama on loopback. Some of them: make services ONLY=kafka
services: setup
	@$(BIN)/python -m devtools.services up $(ONLY)

services-down: setup
	@$(BIN)/python -m devtools.services down $(ONLY)

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# SERVICES=1: on Kafka and Cassandra, beside stream processors in an environment of their own. Some parts: ONLY="streams cql"
bench: setup $(if $(SERVICES),$(PEERS)/.installed)
	@$(if $(SERVICES),$(BIN)/python -m devtools.services run kafka cassandra -- env PYTHONPATH=$(CURDIR) $(BIN)/python benchmarks/servers.py $(ONLY) --peers-python $(PEERS)/bin/python $(if $(DAYS),--days $(DAYS)),$(BIN)/python benchmarks/run.py)

$(PEERS)/.installed: benchmarks/peers/requirements.lock | $(STAMP)
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python --require-hashes -r benchmarks/peers/requirements.lock
	@touch $@

# How well faults are found, beside PyOD in an environment of its own. DATA=path adds SKAB and NAB, a server at
# OLLAMA_BASE_URL the text embedding; further options: make bench-quality OPTIONS="--only skab --seeds 921 922"
bench-quality: setup $(QUALITY)/.installed
	@PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(QUALITY)/bin/python benchmarks/quality.py $(if $(DATA),--data $(DATA)) $(OPTIONS)

$(QUALITY)/.installed: benchmarks/quality.requirements.lock | $(STAMP)
	@test -x $(QUALITY)/bin/python || $(PYTHON) -m venv $(QUALITY)
	@$(BIN)/uv pip install --quiet --python $(QUALITY)/bin/python --require-hashes -r benchmarks/quality.requirements.lock
	@touch $@

lock:
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev --extra cluster --extra fast pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --constraints requirements.lock pyproject.toml benchmarks/quality.requirements.in -o benchmarks/quality.requirements.lock

clean:
	rm -rf $(VENV) $(PEERS) $(QUALITY) .dagster .hvac
