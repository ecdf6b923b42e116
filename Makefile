# `make` lists the targets. Each does all of its own set-up, in .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# As many processes as cores and one thread in each: tests are too small to share. Threads that spin while they wait
# starve each other where something else uses the same cores. Compiled files are kept wherever PYTHONDONTWRITEBYTECODE is
# set: processes that tests start would compile the package again and again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest -n auto --maxprocesses 8
AUDIT := build/audit
CASES ?= 20000
SEED ?= 0
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.installed-docs

# Compiling only what is imported, once, makes the set-up a third shorter than letting pip compile everything.
WARM := import torch.utils.tensorboard, torch._dynamo, pandas, pyarrow.parquet, sklearn.cluster, sklearn.ensemble, sklearn.linear_model, \
  sklearn.mixture, sklearn.neighbors, scipy.io, matplotlib.backends.backend_agg, safetensors.torch, rich.progress, typer, \
  pydantic, tomlkit, pooch, jinja2, pytest, hypothesis, onnxscript, onnxruntime

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all fuzz hostile audit check format docs bench explorer clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

install: $(INSTALLED)  ## make .venv and install latlas with everything for working on it

demo: $(INSTALLED)  ## train on the embedded images and say where the report and the explorer are
	$(BIN)/latlas train fashion-mini --latent 2
	@run=$$(ls -td runs/fashion-mini-*/ | head -n 1); $(BIN)/latlas export $$run --html $${run}atlas.html && \
	  echo "Open in a browser: $${run}report.html and, to walk through latent space, $${run}atlas.html"

test: $(INSTALLED)  ## run the tests, without the slow ones (about 5 minutes on 2 cores)
	@# Each process begins with files of its own, whose runs are trained once; what is left at the end is shared.
	$(PYTEST) --dist worksteal -m "not slow"

test-slow: $(INSTALLED)  ## run the slow tests only
	$(PYTEST) --dist worksteal -m slow

test-all: $(INSTALLED)  ## run all tests
	$(PYTEST)

fuzz: $(INSTALLED)  ## 20,000 damaged files and command lines; SEED=1 for others, CASES=500 for fewer
	$(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED)

hostile: $(INSTALLED)  ## hostile run and study folders through every command
	$(BIN)/python -m tests.fuzz --hostile

audit:  ## known vulnerabilities of the dependencies; needs the advisories of PyPI and npm
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit==2.10.1; }
	@# Strict: a package of which the service says nothing is no good news.
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt
	cd src/latlas/explorer/page && npm audit --package-lock-only

check: $(INSTALLED)  ## lint, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_layout.py

format: $(INSTALLED)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_INSTALLED)  ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

bench: $(INSTALLED)  ## measure the training loop beside a plain one (needs Fashion-MNIST; some minutes)
	$(BIN)/python benchmarks/throughput.py

explorer:  ## type-check the explorer's page and bundle it again (needs Node; users never do)
	cd src/latlas/explorer/page && npm ci --silent && npm run --silent check && npm run --silent build

clean:  ## remove .venv, caches and built documentation; runs/ stays
	rm -rf $(VENV) build dist docs/_build docs/_generated .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info src/latlas/explorer/page/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("latlas needs Python 3.11 or newer; try: make PYTHON=python3.12 install" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (once; a minute or two) ..."
	@$(PIP) install --no-compile -c constraints.txt -e ".[dev]"
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c "$(WARM)"
	@touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	@echo "Installing the documentation tools into $(VENV) (once) ..."
	@$(PIP) install -c constraints.txt -e ".[docs]"
	@touch $@
