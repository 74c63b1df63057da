# Everything a user or a developer does with a checkout. `make` alone lists the targets.
CONFIG ?= config/bridge.yaml
PYTEST_ARGS ?=
# Each has brokers of its own; most of the time they wait.
TEST_PROCESSES ?= 5
# How often `make test-repeat` runs them.
N ?= 10
# A part of the tests reaches a part of the code only: coverage is measured, and has to be high enough, in a whole run.
COVERAGE = $(if $(strip $(PYTEST_ARGS)),,--cov=$(CURDIR)/bridge --cov-report= -p tests.support.coverage_report)
# The tests start the bridge many hundred times: without kept bytecode each start compiles it anew.
KEEP_BYTECODE := PYTHONDONTWRITEBYTECODE=
LOCK_ARGS ?=
# `make test-debian13` makes this root once, and keeps it; without it the next run begins with a bare one.
DEBIAN13_ROOT ?= /var/tmp/dramatiq-bridge-debian13

# `make deploy-check` makes its Debian roots and images there once, and keeps them.
DEPLOY_ROOTS ?= /var/tmp/dramatiq-bridge-deploy

# Of the fault matrix: patterns of rows, how often each is run, and other options of `python -m tests.faults`. The table
# of the whole matrix is kept.
ROWS ?= *
RUNS ?= 1
FAULTS_ARGS ?=
FAULTS_TABLE = $(if $(filter *,$(ROWS)),--markdown tests/faults/results.md --command 'make faults RUNS=$(RUNS)')
MINUTES ?= 30
SOAK_ARGS ?=
# Of `make interop`: patterns of brokers, and the folder where everything that it fetches or builds lies, once. The table
# of all brokers is kept.
BROKERS ?= *
INTEROP_DIR ?= /var/tmp/dramatiq-bridge-interop
INTEROP_ARGS ?=

# `make publish-recipes` keeps the libraries of each language there.
PUBLISH_DIR ?= /var/tmp/dramatiq-bridge-publish

# `make chart` keeps helm and the schemas of custom resources there.
CHART_DIR ?= /var/tmp/dramatiq-bridge-chart

# Of the benchmark: parts and sources (empty: all of them), rounds (empty: the program's own number), and other options of
# `python -m bench` or `python -m bench.against`. REV is the revision that bench-against compares this tree with: HEAD~1
# judges the last commit, or merge, and the changes that are not committed; HEAD would compare a clean tree with itself.
# It is also the revision whose code red-before tests.
PARTS ?=
SOURCES ?=
ROUNDS ?=
BENCH_ARGS ?=
REV ?= HEAD~1

VENV := .venv
BIN := $(VENV)/bin
OLDEST_VENV := .venv-oldest
BENCH_VENV := .venv-bench
BENCH_BIN := $(BENCH_VENV)/bin
RELEASE_VENV := .venv-release
RELEASE_BIN := $(RELEASE_VENV)/bin
COMMA := ,
BENCH_OPTIONS = $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PARTS),--parts $(PARTS)) $(if $(SOURCES),--sources $(SOURCES)) $(BENCH_ARGS)
# With the extras: to a pip that looks at `coverage[toml]` first, a pin of `coverage` alone is none once a newer release is out.
COMPILE = $(BIN)/uv pip compile --no-strip-extras --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(LOCK_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv brokers test test-long test-repeat test-debian13 deploy-check chart publish-recipes record-release dist sbom audit red-before faults reload-load soak interop lint words format check run demo site reference screenshots bench bench-scaling bench-against bench-micro bench-routes lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.installed ## make .venv with everything in it, each package checked by its hash

# A virtual environment: $(1) its folder, $(2) the file with its packages, $(3) what is in it.
define ENVIRONMENT
$(1)/bin/python:
	@echo "making $(1) with $(3) (about half a minute, once) ..." >&2
	@.ci/python $(1)

$(1)/.installed: $(1)/bin/python requirements/$(2).txt pyproject.toml
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 --require-hashes -r requirements/$(2).txt
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $$@
endef
$(eval $(call ENVIRONMENT,$(VENV),dev,everything in it))
$(eval $(call ENVIRONMENT,$(OLDEST_VENV),oldest,the oldest libraries that the bridge works with))
$(eval $(call ENVIRONMENT,$(BENCH_VENV),bench,the bridge and its peers))
$(eval $(call ENVIRONMENT,$(RELEASE_VENV),release,the tools of a release))

brokers: ## install redis-server, mosquitto and rabbitmq-server with apt where they are missing
	@.ci/brokers

test: venv brokers ## run the tests against real brokers (PYTEST_ARGS="-k name" for some of them)
	@$(MAKE) --no-print-directory $(OLDEST_VENV)/.installed || \
		echo "make: this Python has no packages of the oldest libraries; their tests are skipped" >&2
	@data=$$(mktemp -d) && trap 'rm -rf "$$data"' EXIT INT TERM && COVERAGE_FILE=$$data/coverage \
		$(KEEP_BYTECODE) $(BIN)/python -m pytest \
		--numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder -m 'not long and not deploy' $(COVERAGE) $(PYTEST_ARGS)

test-long: venv brokers ## run the tests that `make test` leaves out, about ten minutes: tests/long.py lists them
	@$(KEEP_BYTECODE) $(BIN)/python -m pytest \
		--numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder -m long --no-cov $(PYTEST_ARGS)

record-release: venv brokers ## keep this version's wheel and its bridges' state, by which later versions are tested (at a release)
	@$(BIN)/python -m tests.deploy.record

deploy-check: venv brokers $(RELEASE_VENV)/.installed ## run the unit under a real systemd and build the image, as root (DEPLOY_ROOTS=DIR, PYTEST_ARGS=)
	@.ci/deploy-tools
	@DEPLOY_ROOTS='$(DEPLOY_ROOTS)' $(KEEP_BYTECODE) $(BIN)/python -m pytest -m deploy --no-cov $(PYTEST_ARGS) tests/deploy/real

chart: venv ## lint and render the Helm chart, look at the manifests, and write them anew (Go builds helm, once; CHART_DIR=DIR, PYTEST_ARGS=)
	@CHART_DIR='$(CHART_DIR)' $(BIN)/python -m tests.deploy.chart
	@CHART_DIR='$(CHART_DIR)' $(KEEP_BYTECODE) $(BIN)/python -m pytest -m '' --no-cov $(PYTEST_ARGS) tests/deploy/chart

publish-recipes: venv brokers ## run the recipes of docs/publish.md in each language whose tools can be had, and say which were not run (PUBLISH_DIR=DIR)
	@.ci/publish-tools
	@PUBLISH_DIR='$(PUBLISH_DIR)' $(KEEP_BYTECODE) $(BIN)/python -m pytest -m '' --no-cov $(PYTEST_ARGS) tests/docs/publish

test-repeat: venv brokers ## run the tests N times in a row (N=10), and say how many runs were green
	@.ci/repeat $(N) $(MAKE) --no-print-directory test

test-debian13: ## run the README's two commands on a bare Debian 13, as root or with sudo (DEBIAN13_ROOT=DIR, PYTEST_ARGS=)
	@PYTEST_ARGS='$(subst ','\'',$(PYTEST_ARGS))' .ci/debian13 '$(DEBIAN13_ROOT)'

red-before: venv brokers ## run the tests that are new since REV with the code of REV, and list the red ones (REV=HEAD~1)
	@$(BIN)/python .ci/red_before.py '$(REV)'

faults: venv brokers ## break everything under load and count what is lost, an hour and a quarter (ROWS='redis-*', RUNS=1, FAULTS_ARGS=--help)
	@$(BIN)/python -m tests.faults --rows '$(ROWS)' --runs $(RUNS) $(FAULTS_TABLE) $(FAULTS_ARGS)

reload-load: venv brokers ## reload good and bad files in turn under load, and look whether anything is lost (RELOAD_ARGS='--seconds 60 --processes 2')
	@$(BIN)/python -m tests.support.reload_load $(RELOAD_ARGS)

soak: venv brokers ## random faults one after another against one bridge (MINUTES=30, SOAK_ARGS=--help)
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(SOAK_ARGS)

interop: venv brokers ## try brokers of many kinds, which it fetches, below an hour, as root or with sudo (BROKERS='rabbitmq-*', INTEROP_DIR=DIR, INTEROP_ARGS=--list)
	@INTEROP_DIR='$(INTEROP_DIR)' $(BIN)/python -m tests.interop --brokers '$(BROKERS)' --markdown tests/interop/results.md $(INTEROP_ARGS)

lint: venv ## ruff, mypy, and the count of words
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python .ci/words.py

words: venv ## count the words that make comments hard to read ("what" as a noun and its like)
	@$(BIN)/python .ci/words.py

format: venv ## format the code and fix what can be fixed
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: venv ## check CONFIG without connecting to anything
	@$(BIN)/dramatiq-bridge check $(CONFIG)

run: venv ## run the bridge with CONFIG
	@$(BIN)/dramatiq-bridge run $(CONFIG)

demo: venv ## see the bridge at work, with servers of its own
	@$(BIN)/dramatiq-bridge demo

site: venv ## make the site of the documents in build/site, for a browser without server and network
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build  # with --quiet no warning would count
	@echo "open build/site/index.html"

reference: venv ## write docs/reference.md, the page of every key, from config/bridge.schema.json
	@$(BIN)/python .ci/reference.py

screenshots: venv brokers ## write the pictures of the admin server's page to docs/images, from a bridge with a small load (chromium)
	@$(BIN)/python -m tests.admin.page.screenshots docs/images

bench: $(BENCH_VENV)/.installed brokers ## compare with the peers, about 20 minutes (PARTS=, SOURCES=, ROUNDS=5, BENCH_ARGS=--help)
	@$(BENCH_BIN)/python -m bench $(BENCH_OPTIONS) --command '$(strip make bench $(foreach name,PARTS SOURCES ROUNDS BENCH_ARGS,$(if $($(name)),$(name)="$($(name))")))'

bench-scaling: $(BENCH_VENV)/.installed brokers ## measure the figures of docs/scaling.md on a quiet machine, a quarter of an hour (PARTS=growth, BENCH_ARGS=--help)
	@$(BENCH_BIN)/python -m bench.scaling $(if $(PARTS),--parts $(PARTS)) $(BENCH_ARGS) --command '$(strip make bench-scaling $(foreach name,PARTS BENCH_ARGS,$(if $($(name)),$(name)="$($(name))")))'
	@$(BENCH_BIN)/python -m bench.sizing

bench-against: $(BENCH_VENV)/.installed brokers ## fail if this tree is slower than REV or needs more CPU, about 10 minutes (REV=HEAD~1, SOURCES=, ROUNDS=7)
	@$(BENCH_BIN)/python -m bench.against --rev '$(REV)' $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SOURCES),--sources $(subst $(COMMA), ,$(SOURCES))) $(BENCH_ARGS)

bench-micro: $(BENCH_VENV)/.installed brokers ## measure the bridge's stages alone
	@$(BENCH_BIN)/python -m bench.micro

bench-routes: venv brokers ## measure what each key and function of a route costs, against a plain route
	@$(BIN)/python -m bench.routes

dist: $(RELEASE_VENV)/.installed ## build the sdist, the wheel from it, and look at both
	@rm -rf dist
	@$(RELEASE_BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(RELEASE_BIN)/twine check --strict dist/*.whl dist/*.tar.gz

sbom: $(RELEASE_VENV)/.installed ## write dist/*.cdx.json: each library of requirements/run.txt with its hashes and licence (CycloneDX)
	@$(RELEASE_BIN)/python .ci/sbom.py dist

audit: $(RELEASE_VENV)/.installed ## ask which vulnerabilities of the locked libraries are known; fails where nobody can be asked
	@$(RELEASE_BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/run.txt

lock: $(BIN)/uv ## write requirements/*.txt from pyproject.toml (LOCK_ARGS=--upgrade for newer releases)
	@$(COMPILE) pyproject.toml --extra dev --output-file requirements/dev.txt
	@$(COMPILE) pyproject.toml --extra schema --extra uvloop --extra zstd --constraint requirements/dev.txt --output-file requirements/run.txt
	@$(COMPILE) pyproject.toml requirements/bench.in --extra uvloop --constraint requirements/dev.txt --output-file requirements/bench.txt
	@$(COMPILE) requirements/oldest.in --output-file requirements/oldest.txt
	@$(COMPILE) requirements/release.in --constraint requirements/dev.txt --output-file requirements/release.txt
	@echo 'hatchling>=1.27' | $(COMPILE) - --constraint requirements/dev.txt --output-file requirements/build.txt

$(BIN)/uv: $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'

clean: ## remove everything that make has made
	@rm -rf $(VENV) $(OLDEST_VENV) $(BENCH_VENV) $(RELEASE_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
