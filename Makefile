# make demo: the platform on two days of simulated history, then live.   make test: all tests.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

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

demo: setup
	@$(BIN)/hvac demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: setup
	@$(BIN)/python -m pytest

# The tests against real servers, which they start themselves on ports of their own.
integration: setup
	@HVAC_SERVICES=1 $(BIN)/python -m pytest hvac_platform_tests/integration

# Kafka, Cassandra and Ollama on loopback. Some of them: make services ONLY=kafka
services: setup
	@$(BIN)/python -m hvac_platform_tests.services up $(ONLY)

services-down: setup
	@$(BIN)/python -m hvac_platform_tests.services down $(ONLY)

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup
	@$(BIN)/python benchmarks/run.py

# How well faults are found. DATA=path adds SKAB and NAB; PyOD joins the comparison where the extra `bench` is installed.
bench-quality: setup
	@PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py $(if $(DATA),--data $(DATA))

lock:
	$(BIN)/uv pip compile --quiet --universal --no-strip-extras --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .dagster .hvac
