# `make demo` and `make test` do everything on a machine with Python 3.11 and make; the rest is for those who work on it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OPENAI2 := .cache/openai2/.installed
NODE := tests/clients/node/node_modules/.installed

# The tests of the packages that start nothing.
PURE := $(patsubst %,tests/%,text openai_api redaction matching playback cassette tools test_errors.py proxy/test_fallback.py)

.PHONY: demo test contract check coverage format cassettes bench fuzz soak corpus scale-test clean

demo: $(INSTALLED) ## play a cassette as the API, record from it, play the recording, compare
	$(BIN)/python examples/demo.py

test: $(OPENAI2) $(NODE) coverage ## all tests, those with real clients included
	$(BIN)/python -m pytest $(PURE:%=--ignore=%)

contract: $(INSTALLED) ## clients from PyPI and npm, each in an environment of its own, and docs/clients.md
	$(BIN)/python -m tests.contract --write

check: $(INSTALLED) ## format, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

cassettes: $(INSTALLED) ## record cassettes/ anew from the simulated API
	$(BIN)/python -m tests.support.record_cassettes
	$(BIN)/python -m tests.support.record_examples

coverage: $(INSTALLED) ## every line and branch of the rooms without a clock, a disk or a socket is tested
	$(BIN)/python -m coverage run -m pytest -q $(PURE)
	$(BIN)/python -m coverage report

bench: $(INSTALLED) ## how fast and how punctual it plays, and others do, how big a tape may be, what recording, pytest and a miss cost
	$(BIN)/python benchmarks/replay.py --peers
	$(BIN)/python benchmarks/pacing.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/library.py
	$(BIN)/python benchmarks/record_latency.py
	$(BIN)/python benchmarks/plugin_costs.py
	$(BIN)/python benchmarks/explain_cost.py
	$(BIN)/python benchmarks/record_growth.py

CORPUS ?= $(abspath ../shared/corpus)
corpus: $(INSTALLED) ## import and play all recordings of other projects that lie in CORPUS, and count them
	OPENAI_REPLAY_CORPUS='$(CORPUS)' OPENAI_REPLAY_CORPUS_PART=1 $(BIN)/python -m pytest -q -rs tests/e2e/test_corpus.py

# The fuzzer is an environment of its own: where there is no wheel of it, it has to be built, which takes clang.
FUZZER := .cache/fuzzer/.installed
FUZZ_SECONDS ?= 600

fuzz: $(FUZZER) ## look for inputs that break the readers of what is not trusted, FUZZ_SECONDS in all
	.cache/fuzzer/bin/python -m tests.fuzz $(FUZZ_SECONDS)

$(FUZZER): pyproject.toml
	$(PYTHON) -m venv .cache/fuzzer
	.cache/fuzzer/bin/python -m pip install --quiet --disable-pip-version-check --editable . 'atheris>=3'
	touch $@

# A server of S3's API and its client are environments of their own: they are large, and do not agree on a third.
S3 := .cache/s3/.installed

scale-test: $(INSTALLED) $(S3) ## several processes, positions in a real Redis, cassettes in a real S3 API
	$(BIN)/python -m pytest -q -rs tests/cassette/test_positions.py tests/server/cluster/test_workers.py tests/server/cluster/test_redis.py tests/e2e/test_remote_cassettes.py

$(S3): pyproject.toml
	$(PYTHON) -m venv .cache/s3/client
	.cache/s3/client/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[s3]'
	$(PYTHON) -m venv .cache/s3/server
	.cache/s3/server/bin/python -m pip install --quiet --disable-pip-version-check 'moto[server]>=5'
	touch $@

soak: $(INSTALLED) ## the faults, the load and the kills of `make test` in full size: about ten minutes
	OPENAI_REPLAY_SOAK=1 $(BIN)/python -m pytest tests/e2e/test_faults.py tests/server/http/test_bad_clients.py tests/e2e/test_load.py
	OPENAI_REPLAY_KILL_ROUNDS=200 $(BIN)/python -m pytest tests/e2e/test_durability.py -k nothing_that_a_client

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/clients/node/node_modules

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,speed]'
	touch $@

# The SDK's last line on httpx, for the tests that run clients of both: the virtual environment has the newest.
$(OPENAI2): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target .cache/openai2 'openai>=2,<3'
	touch $@

# Where there is no Node.js, the tests of its SDK are skipped, and say so.
$(NODE): tests/clients/node/package-lock.json
	mkdir -p $(dir $@)
	if command -v npm >/dev/null; then npm ci --prefix tests/clients/node --no-audit --no-fund --loglevel=error; fi
	mkdir -p $(dir $@) && touch $@
