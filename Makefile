# make demo   from a bare clone to a report         make test    everything CI runs
# make prep   export and clean notebooks            make slow    long sweeps
# make docs   the documentation site, offline       make wheelhouse   all wheels for a machine without a network
PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
NB      ?= nbs
DEMO    ?= demo
export OMP_NUM_THREADS := 1
export MPLBACKEND := Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1
SHELL   := /bin/bash
.PHONY: demo test check prep notebooks isolated slow browser docs wheelhouse clean

demo: $(VENV)/.core
	@echo "== Inspecting the sample scene"
	@$(BIN)/rsqi demo --out $(DEMO)

# One stamp a step, so that a second run skips what is done.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3,11) and "rsqi needs Python 3.11 or newer; this is "+sys.version.split()[0]+". Try make PYTHON=python3.11 ...")'
	@echo "== Making $(VENV)"
	@$(PYTHON) -m venv $(VENV) && touch $@

$(VENV)/.core: $(VENV)/.python constraints.txt settings.ini setup.py
	@echo "== Installing rsqi and what it needs (pinned in constraints.txt): about 700 MB to download, 1-8 minutes"
	@$(BIN)/python -m pip install -q -c constraints.txt torch
	@$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "== Installing what tests need: about 100 MB, under a minute"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	@echo "== Installing what the site needs: about 30 MB"
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

# Browser tests want Chromium; without it they skip and say so.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then echo "== Chromium is here"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "== Installing Chromium for the browser tests: about 130 MB, one minute"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk; } >/dev/null 2>&1 \
	  || echo "   not possible here; browser tests will be skipped"; \
	else echo "== No Chromium, and not root to install it: browser tests will be skipped"; fi

test: $(VENV)/.dev browser
	@echo "== Testing: 10 to 15 minutes on two cores"
	@$(MAKE) --no-print-directory check notebooks

prep: $(VENV)/.dev
	@$(BIN)/nbdev_export && $(BIN)/nbdev_clean
	@mkdir -p rsqi/reports && cp $(NB)/reports/*.ipynb rsqi/reports/

check: prep
	@echo "== Notebooks and modules are in step?"
	@if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then git diff --exit-code --stat -- nbs rsqi; fi
	@$(BIN)/ruff check rsqi --select F401,F811,F821,F822
	@echo "== pytest"
	@$(BIN)/python -m pytest -q --durations=8 tests

notebooks: $(VENV)/.dev
	@echo "== Notebooks"
	@$(BIN)/nbdev_test --path $(NB) --n_workers 2 --timing

isolated: $(VENV)/.dev
	find $(NB) -name '[0-9]*.ipynb' | sort | xargs -P2 -I{} timeout 300 $(BIN)/nbdev_test --path {} --n_workers 0

slow: $(VENV)/.docs
	@RSQI_SLOW=1 $(BIN)/python -m pytest -q tests
	@$(BIN)/nbdev_test --path $(NB) --flags "slow gpu" --timing

# Tutorials and how-tos are executed once and kept until they or the package change.
docs: $(VENV)/.docs
	@echo "== Building the site: a few minutes the first time"
	@$(BIN)/python docs/build.py

# MODELS="owner/name ..." adds repositories of the Hugging Face Hub. The wheels fit this kind of machine and this Python.
wheelhouse: $(VENV)/.core
	@echo "== Gathering wheels: about 700 MB"
	@rm -rf wheelhouse && $(BIN)/python -m pip wheel -q --no-deps -w wheelhouse .
	@$(BIN)/python -m pip wheel -q -w wheelhouse -c constraints.txt torch wheelhouse/rsqi-*.whl
	@for m in $(MODELS); do $(BIN)/python -c 'import sys, shutil; from rsqi.engine import hub_folder; \
	  shutil.copytree(hub_folder(sys.argv[1]), "wheelhouse/models/"+sys.argv[1].split("/")[1], dirs_exist_ok=True)' $$m; done
	@printf '%s\n' 'python3 -m venv rsqi-env' 'rsqi-env/bin/pip install --no-index --find-links wheelhouse rsqi' 'rsqi-env/bin/rsqi demo' > wheelhouse/install.txt
	@du -sh wheelhouse && cat wheelhouse/install.txt

clean:
	rm -rf $(DEMO) build dist *.egg-info _docs wheelhouse
