SHELL := /bin/bash
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
READY := $(VENV)/ready

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

EDITED := outputs/winter.png

# A WebUI's own versions of what the shared modules use, on its Python.
PINNED := torch==2.1.2 numpy==1.26.2 Pillow==9.5.0 einops==0.4.1 omegaconf==2.2.3 safetensors==0.4.2
WEBUI ?= $(HOME)/stable-diffusion-webui

.PHONY: setup test edit host-test shared-test webui lint format docs build bench clean

setup: $(READY)

# In two processes: one has the WebUI's tests, the other those without it.
test: $(READY)
	$(VENV_PYTHON) -m pytest -n 2 --dist loadgroup

edit: $(READY)
	@start=$$SECONDS; HF_HUB_OFFLINE=1 $(VENV_PYTHON) -m ip2p edit ip2p/examples/chelsea.jpg "make it winter" --output $(EDITED) --compare --seed 1 --force \
		&& echo "Before and after, side by side: $(EDITED), in $$((SECONDS - start)) s."

host-test: $(READY)
	$(VENV_PYTHON) -m pytest tests/host

# A WebUI for the host tests: v1.10.1 with an environment of its own, for the CPU.
webui:
	bash tests/host/set_up_webui.sh "$(WEBUI)"

shared-test:
	python3.10 -m venv --clear .cache/python3.10
	.cache/python3.10/bin/python -m pip install --quiet --disable-pip-version-check $(PINNED)
	PYTHONPATH=. .cache/python3.10/bin/python tests/shared_modules_check.py

lint: $(READY)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .

format: $(READY)
	$(VENV_PYTHON) -m ruff check --fix .
	$(VENV_PYTHON) -m ruff format .

# docs/api.md too when a WebUI runs with --api: make docs URL=http://127.0.0.1:7860
docs: $(READY)
	$(VENV_PYTHON) docs/reference.py $(URL)

build: $(READY)
	$(VENV_PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

bench: $(READY)
	$(VENV_PYTHON) tests/bench/passes.py

$(READY): pyproject.toml
	@python="$${PYTHON:-$$($(FIND_PYTHON))}"; \
	if [ -z "$$python" ]; then echo "No Python 3.10 or later with venv was found: install one, or run make PYTHON=/path/to/python." >&2; exit 2; fi; \
	echo "Setting up $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
