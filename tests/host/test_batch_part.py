"""The part *Batch* of the tab in a real browser: many pictures, one instruction."""

import io
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from browser import drop, expect, paint, screenshot
from ip2p.images import infotext_in
from test_runs import wait_for
from webui import drawn_picture, to_base64

NAMES = ("red.png", "green.jpg", "blue.png")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        Image.new("RGB", (64 + 16 * i, 64), name.partition(".")[0]).save(folder / name)
    return folder


@pytest.fixture
def batch(tab, tmp_path):
    """The tab with its part Batch open, and nothing in it."""
    tab.open_accordion("batch")
    clear = tab["batch_files"].locator("button[aria-label=Clear]")
    if clear.count():
        clear.click()
    tab.set(batch_input="", batch_output=tmp_path / "out")
    tab.set(steps=2)
    return tab


def start(tab) -> None:
    tab.page.evaluate("document.querySelectorAll('#ip2p_batch_report *').forEach(element => element.classList.add('former'))")
    tab["batch_run"].click()


def ended(tab) -> str:
    """The report of the batch, once it is there."""
    there = "document.querySelector('#ip2p_batch_report :is(p, .error):not(.former)')"
    tab.page.wait_for_function(f"{there} && !document.querySelector('#ip2p_batch .progressDiv')")
    return tab["batch_report"].inner_text()


def packed(tab, host) -> ZipFile:
    link = tab["batch_zip"].locator("a").first.get_attribute("href")
    answer = host.session.get(link)
    assert answer.ok
    return ZipFile(io.BytesIO(answer.content))


def test_dropped_pictures_are_edited_with_the_tab_s_settings_and_a_bad_one_is_named(batch, host, pictures, tmp_path):
    (pictures / "bad.png").write_bytes((pictures / "red.png").read_bytes()[:50])
    files = [pictures / name for name in (*NAMES, "bad.png")]
    drop(batch, *files)
    start(batch)
    report = ended(batch)
    assert "3 edited, 0 there already, 1 failed." in report and "bad.png: The picture can't be read" in report
    assert str(tmp_path / "out") in report
    results = {file.name: file for file in (tmp_path / "out").iterdir()}
    assert sorted(results) == ["blue.png", "green.png", "red.png"]
    assert [Image.open(results[f"{name.partition('.')[0]}.png"]).size for name in NAMES] == [(64, 64), (80, 64), (96, 64)]
    text = infotext_in(results["green.png"])
    assert text.startswith("make it winter\n") and "Steps: 2," in text and "Instruct edit result: full" in text
    with packed(batch, host) as all_of_them:
        assert sorted(all_of_them.namelist()) == sorted(results)
        assert all_of_them.read("red.png") == results["red.png"].read_bytes()
    assert batch["batch_results"].locator("img").count() == 3
    batch["batch"].scroll_into_view_if_needed()
    screenshot(batch, "batch")

    host.probe("clear")
    start(batch)
    assert "0 edited, 3 there already, 1 failed." in ended(batch) and host.rows() == []
    with packed(batch, host) as all_of_them:
        assert len(all_of_them.namelist()) == 3
    batch.set(prompt="make it summer")
    start(batch)
    assert "3 edited, 0 there already" in ended(batch)
    assert (tmp_path / "out" / "red (2).png").is_file()


def test_a_folder_is_edited_into_a_folder_with_progress_and_an_interrupted_one_goes_on(batch, host, pictures, tmp_path):
    (pictures / "list.txt").write_text("no picture")
    batch.set(batch_input=pictures, steps=4)
    host.probe("switch", seconds=6)
    start(batch)
    expect(batch.page.locator("#ip2p_batch .progressDiv")).to_contain_text("%")
    wait_for(lambda: host.get("/sdapi/v1/progress").json()["textinfo"] == "Picture 1 of 3", 120)
    batch["interrupt"].click()  # the WebUI's own setting: what is begun is finished
    expect(batch.page.get_by_text("Generation will stop after finishing this image")).to_be_visible()
    host.probe("switch", seconds=0.0)  # the step that sleeps does so to its end
    report = ended(batch)
    assert "1 edited, 0 there already, 0 failed, 2 left." in report and "list.txt: passed over" in report
    expect(batch["interrupt"]).to_be_hidden()
    start(batch)
    assert "2 edited, 1 there already, 0 failed." in ended(batch)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_what_can_not_be_edited_is_a_sentence(batch, pictures):
    for fields, sentence in (
        ({}, "There are no pictures to edit: drop some first."),
        ({"batch_input": "/no/such/folder"}, "There is no folder /no/such/folder."),
        ({"batch_input": pictures, "batch_output": pictures}, "The output is the folder of the pictures itself"),
        ({"batch_output": pictures / "out", "prompt": ""}, "The instruction is empty"),
    ):
        batch.set(**fields)
        start(batch)
        assert sentence in ended(batch)
    expect(batch["batch_report"].locator(".error")).to_be_visible()


def test_what_is_painted_is_not_left_out_of_a_batch_in_silence(host, pictures, tmp_path):
    mask = Image.new("RGBA", (64, 64))
    mask.paste("red", (0, 0, 20, 20))
    fields = {
        "ip2p_prompt": "make it winter", "ip2p_styles": [], "ip2p_steps": 1, "ip2p_longest_side": 64,
        "ip2p_batch_input": str(pictures), "ip2p_batch_output": str(tmp_path / "out"),
    }  # fmt: skip
    painted = {"ip2p_mask": "data:image/png;base64," + to_base64(mask)}
    assert "belongs to the one picture" in host.press(fields | painted, elem_id="ip2p_batch_run").json()["data"][-1]
    assert not (tmp_path / "out").exists()


def test_what_is_painted_is_cleared_before_a_batch(batch, pictures):
    paint(batch)
    drop(batch, pictures / "red.png")
    start(batch)
    assert "belongs to the one picture" in ended(batch)
    batch["clear_mask"].click()
    start(batch)
    assert "1 edited, 0 there already, 0 failed." in ended(batch)


def test_a_path_that_was_not_uploaded_is_refused(host, pictures):
    sent = [{"name": str(pictures / "red.png"), "data": None, "is_file": True, "size": 1}]
    gone, on_its_way = "not here any longer", "still on its way: press again"
    for path, sentence in ((pictures / "red.png", gone), ("/tmp/gradio/../../etc/passwd", gone), ("red.png", on_its_way)):
        sent[0]["name"] = str(path)
        answer = host.press({"ip2p_prompt": "make it winter", "ip2p_batch_files": sent, "ip2p_styles": []}, elem_id="ip2p_batch_run")
        assert sentence in answer.json()["data"][-1]


def test_a_region_by_name_is_each_picture_s_own_and_one_without_it_is_named(host, tmp_path):
    (tmp_path / "in").mkdir()
    sizes = {"low.png": (96, 70), "high.png": (128, 40)}
    for name, (width, sky) in sizes.items():
        picture = np.asarray(drawn_picture(width, 96)).copy()
        picture[:sky] = (120, 170, 240)
        Image.fromarray(picture).save(tmp_path / "in" / name)
    drawn_picture(96, 64).save(tmp_path / "in" / "without.png")
    fields = {
        "ip2p_prompt": "make it winter", "ip2p_styles": [], "ip2p_steps": 2, "ip2p_longest_side": 64, "ip2p_seed": 7,
        "ip2p_region_from": "By name", "ip2p_region_name": "sky",
        "ip2p_batch_input": str(tmp_path / "in"), "ip2p_batch_output": str(tmp_path / "out"),
    }  # fmt: skip
    report = host.press(fields, elem_id="ip2p_batch_run").json()["data"][-1]
    assert "2 edited, 0 there already, 1 failed." in report and "without.png: There is no sky in the picture" in report
    for name, (_, sky) in sizes.items():
        before, after = (np.asarray(Image.open(tmp_path / folder / name).convert("RGB"), np.int16) for folder in ("in", "out"))
        changed = (before != after).any(-1)
        assert changed[: sky - 10].mean() > 0.5 and not changed[sky + 20 :].any(), name
