# One recipe per job. A bare machine needs Python 3.11 or newer and make; the first run fetches the rest, once.
# PYTHON=python3.12 make venv   takes another interpreter.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-live chaos check format bench lock

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The stamp says that everything in the lock and every Kafka jar is here: while it is newer than what it was made from,
# no recipe asks for the network.
venv: $(READY) ## create .venv from the lock and fetch the Kafka jars (needs the network once)
$(READY): requirements.lock pyproject.toml deploy/local/kafka_jars.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which: PYTHON=python3.11 make" >&2; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(RUN) -m deploy.local.kafka_jars
	@touch $@

MINUTES ?= 2

demo: $(READY) ## a simulated city on this machine, live on one screen, for MINUTES=2; then what came of it
	$(RUN) -m deploy.main demo --minutes $(MINUTES)

# Live tests mostly wait, so two processes share the files (and start a broker each); PROCESSES=0 runs them in one.
PROCESSES ?= 2

test: $(READY) ## every test, the live ones on a real Kafka and ClickHouse engine too
	$(RUN) -m pytest --live -n $(PROCESSES) --dist loadfile --durations 15

test-live: $(READY) ## only the live tests
	$(RUN) -m pytest --live -m live

CHAOS ?=

chaos: $(READY) ## the promises of exactness under faults, hours; CHAOS="--short", CHAOS="--only P1 --seed 17"
	$(RUN) -m tests.chaos $(CHAOS)

check: $(READY) ## format, lint and types, without changing anything
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY) ## put the format right, and what lint can mend by itself
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(READY) ## CityJoin, the job every engine is compared on
	$(RUN) -m benchmarks.cityjoin --records 2000000 --json

lock: $(READY) ## write requirements.lock anew from pyproject.toml; UPGRADE=--upgrade takes newer versions
	$(VENV)/bin/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" $(UPGRADE) --output-file requirements.lock
