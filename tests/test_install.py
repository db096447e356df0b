"""`install.py` adds what a host lacks and never touches what is the host's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webui_folder import NONE_FOUND, webui_folder, webui_python

ROOT = Path(__file__).resolve().parents[1]


def install(python, host: Path, **env) -> str:
    """Runs it as the WebUI does, with the host's folder on PYTHONPATH; returns what it says."""
    env = {**os.environ, "PYTHONPATH": str(host), "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run([python, str(ROOT / "install.py")], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(lacking: str) -> list[str]:
    return install(sys.executable, ROOT / "tests" / "stand_ins", LACKING=lacking).splitlines()


def test_a_complete_host_installs_nothing():
    assert asked("") == []


@pytest.mark.parametrize("package", ["safetensors", "einops", "omegaconf"])
def test_only_what_is_missing_is_installed(package):
    assert asked(package) == [f"pip install {package}"]


def test_what_is_the_hosts_own_is_never_installed():
    own = "torch torchvision gradio numpy Pillow PIL transformers"
    assert asked(own) == []
    assert [line.split()[-1] for line in asked(own + " safetensors einops omegaconf")] == ["safetensors", "einops", "omegaconf"]


def test_a_real_webui_installs_nothing_and_uses_no_network():
    python = webui_python()
    if python is None:
        pytest.skip(NONE_FOUND)
    # pip would fail at once: it has no index to ask.
    said = install(str(python), webui_folder(), PIP_NO_INDEX="1", COMMANDLINE_ARGS="")
    assert "install" not in said.lower()
