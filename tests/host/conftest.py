"""A real WebUI for these tests; without one the whole folder is skipped, with one line that says why."""

import os
from pathlib import Path

import pytest
from PIL import Image

from webui import REPOSITORY, WebUI, drawn_picture, find_webui, to_array
from webui_folder import missing_repositories


def obstacle() -> str | None:
    """Why no WebUI can be started here, None when one can."""
    webui = find_webui()
    if webui is None:
        return "no WebUI with its own environment (launch.py and venv/) at $SD_WEBUI_DIR, at ../.. or at ~/stable-diffusion-webui"
    missing = missing_repositories(webui)
    if missing:
        return f"the WebUI at {webui} cannot start, it lacks repositories/{{{','.join(missing)}}}: run make webui WEBUI={webui}"
    return None


OBSTACLE = obstacle()


def pytest_ignore_collect(collection_path):
    return True if OBSTACLE and collection_path.name.startswith("test_") else None


def pytest_terminal_summary(terminalreporter):
    if OBSTACLE:
        terminalreporter.write_line(f"tests/host skipped: {OBSTACLE}")


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


@pytest.fixture(scope="session")
def photo_file(photo, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    photo.save(file)
    return file


@pytest.fixture(scope="module")
def quick(running_webui):
    """Progress asked for often enough to be seen in jobs of a second."""
    with running_webui.options(show_progress_every_n_steps=1, live_preview_refresh_period=150):
        yield running_webui


@pytest.fixture(scope="session")
def shared_page():
    """The page of `tab`, or nothing."""
    return {}


@pytest.fixture
def tab(shared_page, chromium, host, quick, photo_file, request):
    """The tab with a photograph and an instruction in it, small and quick; no error of the page's script is allowed.

    On the page of the test before, since the WebUI's takes ten seconds to build, unless that test failed or this one is marked `new_page`.
    """
    from browser import WIDE, Tab

    failed, pages = request.session.testsfailed, {} if request.node.get_closest_marker("new_page") else shared_page
    if "tab" in pages:
        try:
            pages["tab"].reset()
        except BaseException:  # the tests that follow have another page
            pages.pop("tab").page.context.close()
            raise
    else:
        page = chromium.new_context(viewport=WIDE, accept_downloads=True).new_page()
        pages["tab"] = Tab(page, host.url).make_ready(photo_file)
    tab = pages["tab"]
    yield tab
    if pages is not shared_page or request.session.testsfailed > failed or tab.errors:
        tab.page.context.close()
        del pages["tab"]
    assert tab.errors == []
