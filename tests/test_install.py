"""`install.py` adds what a host lacks and never touches what is the host's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webui_folder import NONE_FOUND, missing_repositories, webui_folder, webui_python

ROOT = Path(__file__).resolve().parents[1]


def install(python, host: Path, **env) -> str:
    """Runs it as the WebUI does, with the host's folder on PYTHONPATH; returns what it says."""
    env = {**os.environ, "PYTHONPATH": str(host), "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run([python, str(ROOT / "install.py")], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def asked(lacking: str) -> list[str]:
    return install(sys.executable, ROOT / "tests" / "stand_ins", LACKING=lacking).splitlines()


def test_a_complete_host_installs_nothing():
    assert asked("") == []


PINS = ("safetensors==0.4.2", "einops==0.4.1", "omegaconf==2.2.3")  # what WebUI v1.10.1 has


@pytest.mark.parametrize("pin", PINS)
def test_only_what_is_missing_is_installed_and_in_the_version_that_was_tested(pin):
    assert asked(pin.partition("==")[0]) == [f"pip install {pin}"]


@pytest.mark.skipif(webui_python() is None, reason=NONE_FOUND)
def test_what_is_installed_is_what_the_webui_has():
    pinned = (webui_folder() / "requirements_versions.txt").read_text(encoding="utf8").split()
    assert {*PINS} <= {*pinned}


def test_what_is_the_hosts_own_is_never_installed():
    own = "torch torchvision gradio numpy Pillow PIL transformers"
    assert asked(own) == []
    assert [line.split()[-1] for line in asked(own + " safetensors einops omegaconf")] == [*PINS]


def test_a_real_webui_installs_nothing_and_uses_no_network():
    python = webui_python()
    if python is None:
        pytest.skip(NONE_FOUND)
    # pip would fail at once: it has no index to ask.
    said = install(str(python), webui_folder(), PIP_NO_INDEX="1", COMMANDLINE_ARGS="")
    assert "install" not in said.lower()


def webui_without(repository: str, folder: Path) -> Path:
    """What the host tests look at in a WebUI, with every repository but one."""
    (folder / "modules").mkdir(parents=True)
    (folder / "venv" / "bin").mkdir(parents=True)
    for file in ("launch.py", "venv/bin/python"):
        (folder / file).touch()
    names = ("stable-diffusion-webui-assets", "k-diffusion")
    clones = [f"    git_clone({name[0]}_repo, repo_dir('{name}'), \"its name\", its_commit_hash)\n" for name in names]
    (folder / "modules" / "launch_utils.py").write_text("".join(clones), encoding="utf8")
    for name in names:
        (folder / "repositories" / name).mkdir(parents=True)
        if name != repository:
            (folder / "repositories" / name / "README.md").touch()
    return folder


def test_host_tests_are_skipped_with_the_reason_where_the_webui_cannot_start(tmp_path):
    webui = webui_without("stable-diffusion-webui-assets", tmp_path / "webui")
    command = [sys.executable, "-m", "pytest", "-q", "tests/host", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "SD_WEBUI_DIR": str(webui)}, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout  # pytest's status for no tests
    assert f"the WebUI at {webui.resolve()} cannot start, it lacks repositories/{{stable-diffusion-webui-assets}}" in done.stdout


def test_a_real_webui_lacks_none_of_the_repositories_that_its_launcher_names():
    if webui_python() is None:
        pytest.skip(NONE_FOUND)
    launcher = (webui_folder() / "modules" / "launch_utils.py").read_text(encoding="utf8")
    assert launcher.count("git_clone(") - 1 == 5 and missing_repositories(webui_folder()) == []
