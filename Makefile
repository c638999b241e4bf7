# `make` lists the targets. Packages are installed into .venv. Prerequisites: Python 3.11 or newer and make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
SCORER_PIP := .venv-scorer/bin/pip install --quiet --disable-pip-version-check
RUN := pipelines/runs/shapes-prdp.yaml
# The convolutions of the built-in model are small. With a second thread, a training batch takes 20 % less time on an idle machine,
# and five times longer on a busy machine, because waiting threads spin (benchmarks/).
export OMP_NUM_THREADS ?= 1

.PHONY: help docs demo test check format lint types imports fast determinism fuzz fuzz-quick drill drill-quick chaos chaos-quick study study-quick lock clean \
	scorer-environment test-rewards test-ocr test-8bit test-browser chromium screenshots architecture goldens lint-infra images sbom test-docker bench bench-gpu

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s $$'\t'

.venv/.train: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[train]'
	@touch $@

.venv/.dev: .venv/.train
	$(PIP) --editable '.[train,dev]'
	@touch $@

demo: .venv/.train ## finetune the built-in model with PRDP through the pipeline and compare before and after
	$(BIN)/rft run $(RUN) $(OPTIONS)

test: .venv/.dev ## run every test that needs only Python packages
	$(BIN)/pytest -n 2 --dist loadgroup

.venv/.browser: .venv/.dev
	$(PIP) --editable '.[train,dev,browser]'
	@touch $@

.venv/.docs: .venv/.dev
	$(PIP) --editable '.[train,dev,docs]'
	@touch $@

docs: .venv/.docs ## build the documentation as a site: build/site/index.html; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

chromium:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { \
	  test "$$(id -u)" = 0 && command -v apt-get > /dev/null || { \
	    echo "make: Chromium is not installed. Install the package chromium, or run on Debian or Ubuntu: sudo make chromium" >&2; \
	      exit 2; }; \
	  apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends chromium; }

test-browser: .venv/.browser docs chromium ## test the report and the documentation in headless Chromium: keyboard, slider, dark mode, phone, accessibility
	$(BIN)/pytest -q tests/browser

screenshots: .venv/.browser chromium ## regenerate docs/report*.png and docs/mlflow-*.png from the run of `make demo`
	$(BIN)/rft report $(RUN) --output build/report.html
	$(BIN)/python tests/browser/screenshots.py build/report.html docs
	$(BIN)/python tests/browser/mlflow_screenshots.py runs $(basename $(notdir $(RUN))) docs

check: format lint types imports fast ## check format, lint, types, import contracts, fast tests: run before every commit

format: .venv/.dev
	$(BIN)/ruff format --check

lint: .venv/.dev
	$(BIN)/ruff check

types: .venv/.dev
	$(BIN)/mypy

imports: .venv/.dev
	$(BIN)/lint-imports

fast: .venv/.dev
	$(BIN)/pytest -q -n 2 -m "not slow"

determinism: .venv/.dev ## test that split, sharded, fused and killed runs are bit-identical: prints the four checksums
	$(BIN)/pytest -q tests/pipelines/test_determinism.py

.venv/.fuzz: .venv/.dev
	$(PIP) --editable '.[train,dev,fuzz]'
	@touch $@

INPUTS ?= 1000000

fuzz: .venv/.fuzz ## feed every parser with INPUTS inputs of Hypothesis and atheris; defects go to tests/fuzz/corpus
	PYTHONPATH=tests:. $(BIN)/python -m fuzz.run --inputs $(INPUTS)

fuzz-quick: .venv/.fuzz ## the same with 15,000 inputs (about a minute)
	PYTHONPATH=tests:. $(BIN)/python -m fuzz.run --inputs 15000

KILLS ?= 160
COMMAND_KILLS ?= 40
SEED ?= 1

drill: .venv/.dev ## kill runs 200 times at random moments and named places, resume them, compare every bit (30 minutes)
	PYTHONPATH=tests:. $(BIN)/python -m drill.run --kills $(KILLS) --command-kills $(COMMAND_KILLS) --seed $(SEED)

drill-quick: .venv/.dev ## the same with 12 kills, none of the command (4 minutes)
	PYTHONPATH=tests:. $(BIN)/python -m drill.run --kills 12 --command-kills 0 --seed $(SEED)

FAULTS ?= 300

chaos: .venv/.dev ## runs in a bucket and with an MLflow server that fail at random FAULTS times: same bits, every point once
	PYTHONPATH=tests:. $(BIN)/python -m chaos.run --faults $(FAULTS) --seed $(SEED)

chaos-quick: .venv/.dev ## the same with 40 faults (2 minutes)
	PYTHONPATH=tests:. $(BIN)/python -m chaos.run --faults 40 --seed $(SEED)

architecture: .venv/.dev ## draw docs/architecture.svg from the import contracts
	$(BIN)/python docs/architecture.py

goldens: .venv/.dev ## regenerate the compiled packages in tests/pipelines/graphs/goldens; review git diff afterwards
	RFT_GOLDENS=write $(BIN)/pytest -q tests/pipelines/graphs/test_goldens.py

study: .venv/.train ## run the missing runs of the study of the papers' claims, then write its page (hours; can be interrupted)
	$(BIN)/python benchmarks/study/run.py; code=$$?; $(BIN)/python benchmarks/study/page.py && exit $$code

study-quick: .venv/.train ## repeat a part of the study, compare with the committed results, draw all plots (20 minutes)
	$(BIN)/python benchmarks/study/quick.py && $(BIN)/python benchmarks/study/page.py

.venv-scorer/.done: images/scorer/requirements.lock images/scorer/packages.lock
	test -x .venv-scorer/bin/pip || $(PYTHON) -m venv .venv-scorer
	$(SCORER_PIP) torch==2.13.0
	$(SCORER_PIP) --no-deps --require-hashes --requirement images/scorer/requirements.lock
	$(SCORER_PIP) --no-deps --require-hashes --requirement images/scorer/packages.lock
	$(SCORER_PIP) --no-deps --editable .
	@touch $@

scorer-environment: .venv-scorer/.done ## install the official reward packages into .venv-scorer; RFT_OFFICIAL_PYTHON is its bin/python

.venv-ocr/.done: pyproject.toml
	test -x .venv-ocr/bin/pip || $(PYTHON) -m venv .venv-ocr
	.venv-ocr/bin/pip install --quiet --disable-pip-version-check --editable '.[ocr]' pytest
	touch $@

test-ocr: .venv-ocr/.done ## the OCR scorer with its real engine, in an environment without torch
	.venv-ocr/bin/pytest -q tests/ocr

# Not in .venv: peft imports bitsandbytes wherever it is installed, which takes seconds in every process.
.venv-8bit/.done: pyproject.toml constraints.txt .venv/.dev
	test ! -e .venv-8bit || rm -r .venv-8bit
	$(PIP) --no-deps --target .venv-8bit bitsandbytes
	@touch $@

test-8bit: .venv-8bit/.done ## 8-bit AdamW and 8-bit base weights of bitsandbytes, on the CPU
	PYTHONPATH=$(CURDIR)/.venv-8bit $(BIN)/pytest -q tests/steps/eight_bit tests/policy/eight_bit

test-rewards: .venv/.dev .venv-scorer/.done ## compare the reward models with the official packages, on small random weights
	RFT_OFFICIAL_PYTHON=$(CURDIR)/.venv-scorer/bin/python $(BIN)/pytest -q tests/rewards_official

.venv-infra/.done: tests/infra/requirements.txt
	test -x .venv-infra/bin/pip || $(PYTHON) -m venv .venv-infra
	.venv-infra/bin/pip install --quiet --disable-pip-version-check --no-compile --requirement tests/infra/requirements.txt
	@# The tests read the schema of the provider as text. They need neither its dependencies nor compiled files.
	.venv-infra/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile cdktf-cdktf-provider-google==16.12.1
	@touch $@

.venv-checkov/.done: tests/infra/requirements-checkov.txt
	test -x .venv-checkov/bin/pip || $(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement tests/infra/requirements-checkov.txt
	@touch $@

lint-infra: .venv-infra/.done .venv-checkov/.done ## check infra/, Dockerfiles, shell scripts: format, schemas, policies; offline, needs kubectl
	tests/infra/lint.sh

.venv/.images: .venv/.dev
	$(PIP) --editable '.[train,dev,images]'
	@touch $@

ENGINE ?= docker
IMAGES ?= light trainer scorer
BUILD_IMAGES = $(BIN)/python images/build.py $(IMAGES) --engine $(ENGINE) $(if $(REGISTRY),--registry $(REGISTRY)) \
	$(if $(TAG),--tag $(TAG)) $(if $(BASE_IMAGE),--base-image $(BASE_IMAGE))

images: .venv/.images ## build the images and their lock (REGISTRY, TAG, PUSH=1, IMAGES, ENGINE, BASE_IMAGE: docs/docker.md)
	$(BUILD_IMAGES) $(if $(PUSH),--push)

sbom: .venv/.images ## list the Python packages of built images with licences: build/sbom-*.json
	$(BUILD_IMAGES) --sbom

test-docker: .venv/.images ## build the light and trainer images and run pipelines in them; as root, installs an engine if there is none
	$(BIN)/python tests/docker/engine.py bash -ec '\
	  $(BIN)/python images/build.py light trainer --engine $$ENGINE --base-image $$BASE_IMAGE --lock build/images.lock; \
	  PATH=$(abspath $(BIN)):$$PATH RFT_IMAGES_LOCK=$(CURDIR)/build/images.lock pytest -q --durations=10 tests/docker'

.venv-trl/.done: benchmarks/cpu/requirements.txt
	test -x .venv-trl/bin/pip || $(PYTHON) -m venv .venv-trl
	.venv-trl/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/cpu/requirements.txt
	@touch $@

bench: .venv/.train .venv-trl/.done ## compare with TRL and diffusers on a CPU in 20 minutes; OPTIONS=--quick tries every measurement
	$(BIN)/python benchmarks/cpu/bench.py $(OPTIONS)

bench-gpu: .venv/.train ## measure this project on a GPU in 9 minutes; OPTIONS=--tiny tries every measurement on a CPU
	$(BIN)/python benchmarks/gpu/bench_gpu.py $(OPTIONS)

lock: ## resolve the dependencies and write constraints.txt
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --editable '.[train,dev,browser,docs,images,fuzz,8bit]'
	(head -1 constraints.txt; .venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu//') > constraints.new
	mv constraints.new constraints.txt
	.venv-lock/bin/python images/lock.py && rm -rf .venv-lock

clean: ## remove environments and build outputs; keeps runs
	rm -rf .venv .venv-scorer .venv-ocr .venv-8bit .venv-infra .venv-checkov .venv-trl build
