"""A real WebUI for these tests; without one the whole folder is skipped, with one line that says why."""

import os
from pathlib import Path

import pytest
from PIL import Image

from webui import REPOSITORY, WebUI, drawn_picture, find_webui, to_array

NO_WEBUI = (
    "tests/host skipped: no WebUI with its own environment (launch.py and venv/) at $SD_WEBUI_DIR, at ../.. or at ~/stable-diffusion-webui"
)


def pytest_ignore_collect(collection_path):
    if find_webui() is None and collection_path.name.startswith("test_"):
        return True


def pytest_terminal_summary(terminalreporter):
    if find_webui() is None:
        terminalreporter.write_line(NO_WEBUI)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A real photograph where one is at hand, 96x64; a drawn picture otherwise."""
    folder = Path(os.environ.get("IP2P_PHOTOS", REPOSITORY.parent / "shared" / "photos"))
    file = next(iter(sorted(folder.glob("*.jpg"))), None) if folder.is_dir() else None
    return Image.open(file).convert("RGB").resize((96, 64)) if file else drawn_picture(96, 64)


@pytest.fixture(scope="session")
def running_webui(tmp_path_factory, photo):
    host = WebUI(find_webui(), tmp_path_factory.mktemp("webui") / "data")
    # Small and few: a random network proves equality, and it does so in one picture of 64².
    host.defaults = dict(
        image=photo.resize((64, 64)), instruction="make it winter", seed=7, steps=4, width=64, height=64, sampler_name="Euler"
    )
    try:
        yield host.wait()
    finally:
        host.stop()


@pytest.fixture
def host(running_webui) -> WebUI:
    """The running WebUI, with the probe's records empty and its switches off."""
    running_webui.probe("clear")
    return running_webui


@pytest.fixture
def deviation(host):
    """Asks for an edit and for the probe's reference of it: the largest difference of their latents, as a share of the largest latent."""

    def measure(**fields) -> float:
        host.edit(**fields)
        ours = to_array(host.probe("latents"))
        reference = to_array(host.reference(**fields))
        return float(abs(ours - reference).max() / abs(reference).max())

    return measure
