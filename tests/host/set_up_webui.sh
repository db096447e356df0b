#!/usr/bin/env bash
# AUTOMATIC1111's WebUI v1.10.1 for the host tests, with a Python 3.10 environment for the CPU. Can be run again.
#   tests/host/set_up_webui.sh FOLDER
set -euo pipefail
webui=$1
commit=82a973c04367123ae98bd9abdf80d9eda9b910e2

[ -d "$webui/.git" ] || git clone --quiet https://github.com/AUTOMATIC1111/stable-diffusion-webui.git "$webui"
cd "$webui"
[ "$(git rev-parse HEAD)" = "$commit" ] || git -c advice.detachedHead=false checkout --quiet "$commit"
[ -x venv/bin/python ] || "${PYTHON310:-python3.10}" -m venv venv

# CLIP does not build with newer setuptools, and not apart from them.
venv/bin/python -m pip install --quiet setuptools==69.5.1 wheel
venv/bin/python -c 'import clip' 2> /dev/null ||
    venv/bin/python -m pip install --quiet --no-build-isolation https://github.com/openai/CLIP/archive/d50d76daa670286dd6cacf3bcd80b5e4823fc8e1.zip
export TORCH_COMMAND='pip install torch==2.1.2 torchvision==0.16.2 --index-url https://download.pytorch.org/whl/cpu'
# The repository that the WebUI's installer asks for is gone; this is a copy of it.
export STABLE_DIFFUSION_REPO=https://github.com/w-e-w/stablediffusion.git
venv/bin/python launch.py --exit --skip-torch-cuda-test
