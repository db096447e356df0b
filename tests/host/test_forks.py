"""Hosts that are not AUTOMATIC1111's."""

import pytest

from webui import WebUI, find_webui


@pytest.fixture
def forge(tmp_path, monkeypatch):
    """The WebUI with an empty `modules_forge` to import: a stand-in for Forge, which is known by that package."""
    (tmp_path / "modules_forge").mkdir()
    (tmp_path / "modules_forge" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    host = WebUI(find_webui(), tmp_path / "data")
    try:
        yield host.wait()
    finally:
        host.stop()


def test_on_forge_the_tab_says_what_is_unsupported_and_nothing_else_is_added(forge):
    page = forge.get("/").text
    assert "This is Forge, which has removed edit models" in page
    assert "ip2p_generate" not in page
    assert "/instruct-edit/v1/edit" not in forge.get("/openapi.json").json()["paths"]
