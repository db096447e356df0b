"""The tab without a mouse and for who can't see it: reached by keyboard, said aloud, and a dropped file where it belongs."""

import base64

import pytest

from browser import AXE, NO_AXE, RESULT, expect


def test_from_a_picture_to_its_result_by_keyboard_alone(tab):
    tab["image"].locator("button[aria-label=Clear]").click()
    keys = tab.page.keyboard
    tab["choose"].focus()
    with tab.page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(tab.photo)
    expect(tab["image"].locator("img").first).to_be_visible()
    tab["prompt"].locator("textarea").focus()
    keys.press("Control+A")
    keys.type("make it night")
    for name in ("mask_accordion", "vary", "picker", "tips", "schedule", "history", "sheet", "batch"):
        label = tab[name].locator(".label-wrap")
        label.focus()
        for key, state in (("Enter", "true"), ("Space", "false")):
            keys.press(key)
            expect(label).to_have_attribute("aria-expanded", state)
    tab["generate"].focus()
    tab.forget_job()
    keys.press("Enter")
    assert tab.finished()["prompt"] == "make it night"
    expect(tab.page.locator(RESULT).first).to_have_attribute("alt", "Result 1: make it night")
    picture = tab["image"].locator("[data-testid=image] > div img")
    before = picture.get_attribute("src")
    tab["use_result"].focus()
    keys.press("Enter")
    expect(picture).not_to_have_attribute("src", before)
    expect(picture).to_have_attribute("alt", "The picture to edit")


def test_a_result_leaves_the_focus_where_a_person_types_until_they_go_to_it(tab, host):
    tab.generate()
    host.probe("switch", seconds=0.3)
    tab.set(steps=8, count=2)  # of which another than the selected one is shown first
    tab.forget_job()
    tab["prompt"].locator("textarea").focus()
    tab.page.keyboard.press("Control+Enter")
    expect(tab.page.locator("#ip2p_results .progressDiv")).to_contain_text("%")
    tab.finished()
    tab.page.wait_for_function("selected_gallery_index() === 1")
    tab.page.wait_for_timeout(500)  # until Gradio has its focus there
    tab.page.keyboard.type(", at night")
    assert tab.value("prompt") == "make it winter, at night"
    tab["gallery"].locator(".thumbnail-small").first.click()
    assert tab.page.evaluate("document.activeElement.matches('#ip2p_gallery *')")


def test_an_error_is_an_alert_in_sight_and_goes_with_the_next_press(tab):
    tab.set(prompt=" ")
    tab.page.evaluate("window.scrollTo(0, 0)")
    tab["generate"].click()
    expect(tab["error"]).to_contain_text("instruction is empty")
    assert tab["error"].get_attribute("role") == "alert" and tab["error"].bounding_box()["y"] < tab.page.viewport_size["height"]
    tab.set(prompt="make it winter")
    tab.generate()
    expect(tab["error"]).to_be_hidden()


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
def test_axe_finds_no_serious_violation(tab):
    tab.generate()
    tab.page.add_script_tag(path=AXE)
    # Colours are those of the WebUI's theme.
    found = tab.page.evaluate("axe.run('#tab_ip2p', {resultTypes: ['violations'], rules: {'color-contrast': {enabled: false}}})")
    serious = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_a_picture_dropped_on_the_instruction_brings_its_own(tab, host):
    tab.set(prompt="make it night")
    tab.generate()
    data = tab.page.evaluate(
        "async s => Array.from(new Uint8Array(await (await fetch(document.querySelector(s).src)).arrayBuffer()))", RESULT
    )
    tab.set(prompt="")
    tab.page.evaluate(
        """async data => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([await (await fetch(data)).blob()], 'result.png', {type: 'image/png'}));
            document.querySelector('#ip2p_prompt textarea').dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, composed: true}));
        }""",
        "data:image/png;base64," + base64.b64encode(bytes(data)).decode(),
    )
    tab.page.wait_for_function("document.querySelector('#ip2p_prompt textarea').value.startsWith('make it night\\nSteps: 3')")
    assert not tab.page.evaluate("document.querySelector('#txt2img_prompt textarea').value")


def test_a_preview_is_decoded_by_a_model_s_own_autoencoder(tab, host):
    logged = host.log.count("Traceback")
    host.probe("switch", seconds=0.3)
    with host.options(show_progress_type="TAESD"):  # whose weights are Stable Diffusion's, and not here
        tab.set(steps=30)
        tab.start()
        expect(tab.page.locator("#ip2p_gallery .livePreview img").first).to_be_attached()
        tab.finished()
    assert host.log.count("Traceback") == logged
