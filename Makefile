# `make demo`, `make test` and `make test-all` need Python 3.11 and make, and install the rest. `make help` lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --quiet --disable-pip-version-check
# Exact versions with hashes; `make lock` renews them.
LOCKED := install --require-hashes --no-deps --requirement
INSTALLED := $(VENV)/.installed
DEMO := .cache/demo/.installed
OPENAI2 := .cache/openai2/.installed
NODE := tests/clients/node/node_modules/.installed
PYTEST := $(BIN)/python -m pytest

# The tests of the modules without a clock, a disk or a socket: every line and branch of those is covered.
PURE := $(addprefix tests/,text openai_api redaction matching playback cassette tools test_errors.py proxy/test_fallback.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all coverage slow check format contract newest lock cassettes bench fuzz soak corpus scale-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO) ## record from a simulated API and play the recording (half a minute)
	@PYTHONPATH=. .cache/demo/bin/python examples/demo.py

test: $(INSTALLED) ## all tests that a change has to pass, in parallel (under 4 minutes on two cores)
	$(PYTEST) -n auto --dist worksteal -m 'not slow'

test-all: coverage slow ## what CI runs beside `make test`: coverage, the slow tests, all clients of tests/clients

# Without the plugin, which pytest would import before coverage starts.
coverage: $(INSTALLED) ## the modules without a clock, a disk or a socket: every line and branch, Hypothesis at full size
	HYPOTHESIS_PROFILE=full $(PYTEST) -q -n auto -p no:openai_replay --cov --cov-report=term:skip-covered $(PURE)

slow: $(INSTALLED) $(OPENAI2) $(NODE) ## the tests that `make test` leaves out: real clients, all commands of the docs
	$(PYTEST) -n auto --dist worksteal -m slow

check: $(INSTALLED) ## format, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(INSTALLED) ## format the code, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

contract: $(INSTALLED) ## clients from PyPI and npm, each in an environment of its own; writes docs/clients.md
	$(BIN)/python -m tests.contract --write

newest: ## the quick tests with the newest release of every dependency, and what differs from the locked ones
	$(PYTHON) -m venv --clear .cache/newest
	.cache/newest/bin/python $(PIP) install --upgrade --editable '.[dev,speed]'
	.cache/newest/bin/python tests/support/versions.py requirements/dev.txt
	.cache/newest/bin/python -m pytest -q -n auto -m 'not slow' $(PURE) tests/server tests/proxy tests/cli

# uv resolves for every platform and Python at once.
LOCK := .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-emit-index-url --custom-compile-command 'make lock'

lock: ## renew requirements/*.txt: the versions that the other targets install
	test -x .cache/lock/bin/uv || $(PYTHON) -m venv .cache/lock
	.cache/lock/bin/python $(PIP) install --upgrade uv
	$(LOCK) pyproject.toml requirements/build.in --extra dev --extra speed --output-file requirements/dev.txt
	$(LOCK) pyproject.toml requirements/demo.in --constraint requirements/dev.txt --output-file requirements/demo.txt
	$(LOCK) requirements/openai2.in --output-file requirements/openai2.txt
	$(LOCK) pyproject.toml requirements/build.in requirements/fuzz.in --output-file requirements/fuzz.txt
	$(LOCK) pyproject.toml requirements/build.in --extra s3 --output-file requirements/s3-client.txt
	$(LOCK) requirements/s3-server.in --output-file requirements/s3-server.txt

cassettes: $(INSTALLED) ## record cassettes/ and those of examples/ again from the simulated API
	$(BIN)/python -m tests.support.record_cassettes
	$(BIN)/python -m tests.support.record_examples

bench: $(INSTALLED) ## how fast and how punctual it plays, beside others; what recording, pytest and a miss cost
	$(BIN)/python benchmarks/replay.py --peers
	$(BIN)/python benchmarks/pacing.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/library.py
	$(BIN)/python benchmarks/record_latency.py
	$(BIN)/python benchmarks/plugin_costs.py
	$(BIN)/python benchmarks/explain_cost.py
	$(BIN)/python benchmarks/record_growth.py

CORPUS ?= $(abspath ../shared/corpus)
corpus: $(INSTALLED) ## import and play the recordings of other projects that lie in the folder CORPUS, and count them
	OPENAI_REPLAY_CORPUS='$(CORPUS)' OPENAI_REPLAY_CORPUS_PART=1 $(PYTEST) -q -rs tests/e2e/test_corpus.py

FUZZ_SECONDS ?= 600
fuzz: .cache/fuzzer/.installed ## look for inputs that break the readers of untrusted text, for FUZZ_SECONDS
	.cache/fuzzer/bin/python -m tests.fuzz $(FUZZ_SECONDS)

scale-test: $(INSTALLED) .cache/s3/.installed ## several processes, positions in a real Redis, cassettes in a real S3 API
	$(PYTEST) -q -rs tests/cassette/test_positions.py tests/server/cluster tests/e2e/test_remote_cassettes.py

soak: $(INSTALLED) ## the faults, the load and the kills of the tests in full size (ten minutes)
	OPENAI_REPLAY_SOAK=1 $(PYTEST) tests/e2e/test_faults.py tests/server/http/test_connections.py tests/e2e/test_load.py
	OPENAI_REPLAY_KILL_ROUNDS=200 $(PYTEST) tests/e2e/test_durability.py -k nothing_that_a_client

clean: ## remove all that the other targets made
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/clients/node/node_modules

$(INSTALLED): pyproject.toml requirements/dev.txt
	@echo 'Installing what development needs in $(VENV) (230 MB, once) ...'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) $(LOCKED) requirements/dev.txt
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEMO): pyproject.toml requirements/demo.txt
	@echo 'Installing what the demo needs in .cache/demo (70 MB, once) ...'
	@$(PYTHON) -m venv .cache/demo
	@.cache/demo/bin/python $(PIP) $(LOCKED) requirements/demo.txt
	@touch $@

# The SDK's last line on httpx, for the tests that run clients of both: the virtual environment has the newest.
$(OPENAI2): $(INSTALLED) requirements/openai2.txt
	@echo 'Installing the last openai 2 in .cache/openai2 ...'
	@$(BIN)/python $(PIP) $(LOCKED) requirements/openai2.txt --upgrade --target .cache/openai2
	@touch $@

# Without Node.js the tests of its SDK are skipped, and say so.
$(NODE): tests/clients/node/package-lock.json
	@mkdir -p $(dir $@)
	@if command -v npm >/dev/null; then npm ci --prefix tests/clients/node --no-audit --no-fund --loglevel=error; fi
	@mkdir -p $(dir $@) && touch $@

# An environment of its own: on a machine without a wheel of the fuzzer it has to be built, which takes clang.
.cache/fuzzer/.installed: pyproject.toml requirements/fuzz.txt
	$(PYTHON) -m venv .cache/fuzzer
	.cache/fuzzer/bin/python $(PIP) $(LOCKED) requirements/fuzz.txt
	.cache/fuzzer/bin/python $(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

# A server of S3's API and its client do not agree on the version of a third package: two environments.
.cache/s3/.installed: pyproject.toml requirements/s3-client.txt requirements/s3-server.txt
	$(PYTHON) -m venv .cache/s3/client
	.cache/s3/client/bin/python $(PIP) $(LOCKED) requirements/s3-client.txt
	.cache/s3/client/bin/python $(PIP) install --no-deps --no-build-isolation --editable .
	$(PYTHON) -m venv .cache/s3/server
	.cache/s3/server/bin/python $(PIP) $(LOCKED) requirements/s3-server.txt
	touch $@
