# Everything here needs make and a Python 3.11 or newer, and nothing else: .venv is made on the first call and
# brought up to date whenever a pinned version or the project's own metadata changes.
# `make` alone lists the targets with the text behind their ##, and these examples:
#
#   make test PYTHON=python3.12 VENV=.venv-3.12      another interpreter, beside the first
#   make test-full PYTEST_ARGS="-k huggingface"      some of the tests

PYTHON ?= python3
VENV ?= .venv
BEAM_VENV ?= .venv-beam
PYTEST_ARGS ?=
QUICKSTART_ARGS ?=
STUDY_ARGS ?=
# Quick tests spend their time compiling, each on one core; the true-size ones run one at a time.
WORKERS ?= 2
TORCH_PYTHON ?= $(BIN)/python

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup quickstart study test test-full beam-test scaling benchmarks lint format coverage wheel pins clean distclean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s%s\n", $$1, $$2}' Makefile
	@sed -n 's/^#   //p' Makefile

setup: $(INSTALLED) ## .venv with the pinned packages and the project itself

# setuptools comes first, alone: what has no wheel is then built with the pinned one, not with the newest of the day.
$(INSTALLED): requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zoe_jax needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": run make PYTHON=python3.12, say")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -qq $$(grep '^setuptools==' requirements.txt)
	$(PIP) install -qq --no-build-isolation --requirement requirements.txt
	$(PIP) install -qq --no-build-isolation --no-deps --editable .
	$(PIP) check
	@touch $@

quickstart: $(INSTALLED) ## render a world, train on it, evaluate, predict: runs/quickstart/report.html
	$(BIN)/python -m zoe_jax_experiments.quickstart $(QUICKSTART_ARGS)

# What is finished under runs/study is not repeated; what was interrupted goes on.
study: $(INSTALLED) ## the paper's ablations in miniature, over seeds: experiments/results/study_cpu.md
	$(BIN)/python -m zoe_jax_experiments.study $(STUDY_ARGS)

test: lint ## lint and the quick tests
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

test-full: $(INSTALLED) ## the long tests
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

beam-test: $(BEAM_VENV)/.installed ## preparation on Apache Beam, in an environment of its own
	$(BEAM_VENV)/bin/python -m pytest tests/data/test_beam.py $(PYTEST_ARGS)

# Beam caps packages that requirements.txt has newer, hence pins and an environment of its own.
$(BEAM_VENV)/.installed: requirements-beam.txt pyproject.toml setup.py
	$(PYTHON) -m venv $(BEAM_VENV)
	$(BEAM_VENV)/bin/python -m pip install -qq $$(grep '^setuptools==' requirements-beam.txt)
	$(BEAM_VENV)/bin/python -m pip install -qq --no-build-isolation --requirement requirements-beam.txt
	$(BEAM_VENV)/bin/python -m pip install -qq --no-build-isolation --no-deps --editable .
	$(BEAM_VENV)/bin/python -m pip check
	@touch $@

scaling: $(INSTALLED) ## the true-size training step for 8, 64 and 256 simulated devices: experiments/results/scaling.json
	$(BIN)/python -m zoe_jax_experiments.benchmarks.scaling

# Beside transformers' ZoeDepth: TORCH_PYTHON names an interpreter that has torch and transformers.
benchmarks: $(INSTALLED) ## inference, training, input and evaluation timed, beside transformers' ZoeDepth
	$(BIN)/python -m zoe_jax_experiments.benchmarks.inference --torch-python $(TORCH_PYTHON)
	$(BIN)/python -m zoe_jax_experiments.benchmarks.training --torch-python $(TORCH_PYTHON)
	$(BIN)/python -m zoe_jax_experiments.benchmarks.input --torch-python $(TORCH_PYTHON)
	$(BIN)/python -m zoe_jax_experiments.benchmarks.evaluation

lint: $(INSTALLED) ## ruff, pyright and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## ruff's fixes and format, in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The bar, 90 % of the lines, stands in pyproject.toml.
coverage: $(INSTALLED) ## the quick tests with their lines counted
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile --cov $(PYTEST_ARGS)

# setuptools packs whatever an earlier build left in build/lib, also files that are gone.
wheel: $(INSTALLED) ## dist/zoe_jax-*.whl
	rm -rf build/lib dist
	$(PIP) wheel -qq --no-build-isolation --no-deps --wheel-dir dist .
	@ls -l dist

pins: ## the ranges of pyproject.toml resolved anew, to today's releases: requirements.txt, requirements-beam.txt
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --upgrade pip setuptools
	build/pins/bin/python -m pip install --quiet --editable '.[dev]'
	@{ sed -n '/^#/!q;p' requirements.txt; build/pins/bin/python -m pip freeze --all --exclude pip --exclude zoe_jax; } > build/requirements.txt
	mv build/requirements.txt requirements.txt
	rm -rf build/pins
	$(PYTHON) -m venv build/pins
	build/pins/bin/python -m pip install --quiet --upgrade pip setuptools
	build/pins/bin/python -m pip install --quiet --editable '.[beam,h5]' beartype hypothesis pytest
	@{ sed -n '/^#/!q;p' requirements-beam.txt; build/pins/bin/python -m pip freeze --all --exclude pip --exclude zoe_jax; } > build/requirements.txt
	mv build/requirements.txt requirements-beam.txt
	rm -rf build/pins

clean: ## remove what was built
	rm -rf build dist *.egg-info htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## the same, and the environments
	rm -rf $(VENV) $(BEAM_VENV)
