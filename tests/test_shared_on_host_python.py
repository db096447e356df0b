"""The modules that both halves share run on the WebUI's own Python and packages, and on this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webui_folder import NONE_FOUND, webui_python

ROOT = Path(__file__).resolve().parents[1]


def check(python) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(python), str(ROOT / "tests" / "shared_modules_check.py")], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shared_modules_run_here():
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in check(sys.executable)


def test_shared_modules_run_on_the_webuis_python():
    python = webui_python()
    if python is None:
        pytest.skip(NONE_FOUND)
    assert "torch" in check(python)
