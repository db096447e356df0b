"""A host whose helpers are gone or have changed: the tab says which, and everything else lives."""

import pytest

from webui import HERE, WebUI, find_webui

# Looked up on the module's class, which a test can't take it away from; `shared` without a model is no WebUI anyway.
NOT_TAKEN_AWAY = {"modules.shared.sd_model"}


def test_without_any_one_helper_the_tab_names_it_and_the_page_is_built(host):
    names = set(host.probe("needs")) - NOT_TAKEN_AWAY
    assert {"modules.ui_toprow.Toprow", "modules.ui_common.create_output_panel", "modules.call_queue.wrap_gradio_gpu_call"} <= names
    for name in sorted(names):
        loaded = host.probe("without", name=name)
        assert loaded["tabs"].count("Instruct edit") == 1, name
        faults = [text for text in loaded["texts"] if f"this WebUI lacks {name}" in text]
        assert len(faults) == 1 and "Update the extension" in faults[0], name
        assert ("the tab" in faults[0]) == (loaded["bindings"] == 0), f"{name}: a tab that is off left something for the host's page"


@pytest.mark.parametrize(
    "name",
    [
        "ui_toprow.Toprow",
        "ui_common.create_output_panel",
        "ui_components.ResizeHandleRow",
        "call_queue.wrap_gradio_gpu_call",
        "call_queue.wrap_queued_call",
        "infotext_utils.add_paste_fields",
        "infotext_utils.ParamBinding",
        "infotext_utils.PasteField",
        "ui_extra_networks.create_ui",
        "ui_extra_networks.setup_ui",
    ],
)
def test_with_a_helper_of_the_tab_changed_the_tab_names_it_and_leaves_nothing_in_the_page(host, name):
    loaded = host.probe("without", name=f"modules.{name}", changed=True)
    assert loaded["tabs"].count("Instruct edit") == 1
    (faults,) = [text for text in loaded["texts"] if "Off here" in text]
    assert "the tab" in faults and name.rpartition(".")[2] in faults
    assert loaded["bindings"] == 0
    assert "/instruct-edit/v1/edit" in loaded["routes"], "the API needs nothing of it"


def test_nothing_is_off_in_the_pinned_webui(host):
    loaded = host.probe("without", name="modules.shared.opts_of_nobody")
    assert [text for text in loaded["texts"] if "Off here" in text] == []
    assert loaded["script"] and "/instruct-edit/v1/edit" in loaded["routes"]


@pytest.fixture
def later_webui(tmp_path):
    """A WebUI in which a helper that the tab uses last of all takes other arguments."""
    host = WebUI(
        find_webui(), tmp_path / "data", neighbours=(HERE / "neighbours" / "renamed",), RENAMED="modules.infotext_utils.ParamBinding"
    )
    try:
        yield host.wait()
    finally:
        host.stop()


def test_a_changed_helper_leaves_the_webui_and_every_other_part_of_the_extension_alive(later_webui, photo):
    page = later_webui.page()
    ids = {c["props"].get("elem_id") for c in page["components"]}
    assert {"txt2img_generate", "img2img_generate", "ip2p_faults"} <= ids and "ip2p_generate" not in ids
    (faults,) = later_webui.components(elem_id="ip2p_faults")
    assert "ParamBinding" in faults["props"]["value"]
    fields = dict(instruction="make it winter", image=photo, width=64, height=64, steps=2)
    assert len(later_webui.edit(**fields).images) == 1
