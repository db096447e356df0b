"""The standalone page in a real browser."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="tests of the page need diffusers and transformers (pip install -e '.[edit]')")

from host.browser import AXE, CHROMIUM, NO_AXE, PHONE, WAIT, WIDE, expect, expect_choosers
from ip2p.app.painted import Painted
from ip2p.app.steps import Step, step_back, steps_of, use_result
from ip2p.app.uploads import as_png
from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.images import infotext_in
from ip2p.segmentation import missing, regions_named
from ip2p.where import NAME, Where
from portraits import ASTRONAUT
from tiny_model import save_folder, tiny_editor

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "ip2p" / "examples" / "chelsea.jpg"
AFTER = "#ip2p_compare img"
assert CHROMIUM


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """`python -m ip2p app` with a tiny random model."""
    folder = tmp_path_factory.mktemp("model")
    save_folder(tiny_editor(), folder)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    command = [sys.executable, "-m", "ip2p", "app", "--model", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--presets", str(tmp_path_factory.mktemp("presets"))]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(6000):  # a busy machine is no failure
            try:
                urllib.request.urlopen(address, timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, "the page ended"
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page(chromium, url):
    page = chromium.new_context(viewport=WIDE).new_page()
    page.set_default_timeout(WAIT)
    expect_choosers(page)
    errors = []
    page.on("pageerror", lambda error: errors.append(error.stack or str(error)))
    page.goto(url)
    page.locator("#ip2p_image input[type=file]").wait_for(state="attached")
    page.wait_for_function("window.ip2p")  # what the page does once it is loaded
    yield page
    page.context.close()
    assert errors == []


def field(page, name):
    return page.locator(f"#ip2p_{name}").locator("textarea, input[type=number], input[type=text]").first


def set_up(page, instruction="make it winter", steps=4):
    page.locator("#ip2p_image input[type=file]").set_input_files(PHOTO)
    page.locator("#ip2p_image img").wait_for()
    field(page, "prompt").fill(instruction)
    field(page, "steps").fill(str(steps))
    field(page, "steps").blur()


def generate(page):
    before = field(page, "infotext").input_value()
    page.locator("#ip2p_generate").click()
    page.wait_for_function("before => document.querySelector('#ip2p_infotext textarea').value !== before", arg=before)
    expect(page.locator("#ip2p_compare [data-testid=status-tracker].generating")).to_have_count(0)  # until then Gradio drops the next press
    return field(page, "infotext").input_value()


def test_a_photograph_is_edited_and_compared(page):
    set_up(page)
    field(page, "neg_prompt").fill("blurry")
    infotext = generate(page)
    assert infotext.startswith("make it winter\nNegative prompt: blurry\nSteps: 4, Sampler: Euler a")
    assert "CFG scale: 7.5, Image CFG scale: 1.5, Seed: 1371" in infotext
    expect(page.locator(AFTER)).to_have_count(2)
    sources = [image.get_attribute("src") for image in page.locator(AFTER).all()]
    assert len(set(sources)) == 2
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "app.png", full_page=True)


def test_seed_and_scales_are_fixed_or_random(page):
    set_up(page)
    first = generate(page)
    page.locator("#ip2p_seed_mode label", has_text="Random").click()
    page.locator("#ip2p_scale_mode label", has_text="Random").click()
    drawn = generate(page)
    assert first != drawn
    assert 6 <= float(field(page, "text_scale").input_value()) <= 9
    assert 1.2 <= float(field(page, "image_scale").input_value()) <= 1.8
    assert f"Seed: {field(page, 'seed').input_value()}," in drawn


def test_a_fast_result_has_a_button_that_finishes_it_exactly(page):
    set_up(page)
    exact = generate(page)
    expect(page.locator("#ip2p_finish_exactly")).to_be_hidden()
    page.locator("#ip2p_speed label", has_text="fast").click()
    fast = generate(page)
    assert "Instruct edit speed: fast" in fast and "speed" not in exact
    page.locator("#ip2p_finish_exactly").click()
    expect(field(page, "infotext")).to_have_value(exact)
    expect(page.locator("#ip2p_finish_exactly")).to_be_hidden()


def picture_of(page) -> list[int]:
    """[width, height, r, g, b, …] of what the picture field shows, at 16x16."""
    return page.evaluate(
        """async () => {
            const img = new Image();
            img.src = document.querySelector('#ip2p_image img').src;
            await img.decode();
            const canvas = Object.assign(document.createElement('canvas'), {width: 16, height: 16});
            canvas.getContext('2d').drawImage(img, 0, 0, 16, 16);
            return [img.naturalWidth, img.naturalHeight, ...canvas.getContext('2d').getImageData(0, 0, 16, 16).data];
        }"""
    )


def apart(one: list[int], other: list[int]) -> float:
    """Of two such lists the mean difference of their levels."""
    return sum(abs(a - b) for a, b in zip(one[2:], other[2:])) / len(one[2:])


def shows(page, picture: list[int]) -> None:
    """Waits until the picture field shows this picture, which the browser draws."""
    for _ in range(100):
        if apart(picture_of(page), picture) < 8:
            return
        page.wait_for_timeout(100)
    raise AssertionError("the picture field shows another picture")


def take_back(page, left: int):
    page.locator("#ip2p_history_back").click()
    expect(page.locator("#ip2p_history .thumbnail-lg")).to_have_count(left)


def test_the_chain_goes_on_from_a_result_and_back(page):
    set_up(page, "first")
    start = picture_of(page)
    generate(page)
    shown = page.locator("#ip2p_image img").get_attribute("src")
    page.locator("#ip2p_use_result").click()
    page.wait_for_function("shown => document.querySelector('#ip2p_image img')?.src !== shown", arg=shown)
    second = picture_of(page)
    field(page, "prompt").fill("second")
    generate(page)
    expect(page.locator("#ip2p_history .thumbnail-lg")).to_have_count(2)
    shown = page.locator("#ip2p_image img").get_attribute("src")
    page.locator("#ip2p_use_result").click()
    page.wait_for_function("shown => document.querySelector('#ip2p_image img')?.src !== shown", arg=shown)
    field(page, "prompt").fill("third")
    take_back(page, 1)
    expect(field(page, "prompt")).to_have_value("second")
    shows(page, second)
    assert apart(second, start) > 20
    wait_for_answers(page)  # or Gradio drops the next press
    take_back(page, 0)
    expect(field(page, "prompt")).to_have_value("first")
    shows(page, start)


def test_a_chain_of_several_lines_shows_every_step(page):
    set_up(page, "first\nsecond\nthird")
    infotext = generate(page)
    assert infotext.startswith("third\n")
    steps = page.locator("#ip2p_history .thumbnail-lg")
    expect(steps).to_have_count(3)
    assert [step.inner_text().strip() for step in steps.all()] == ["first", "second", "third"]
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "app-chain.png", full_page=True)
    field(page, "prompt").fill("fourth")
    take_back(page, 2)
    expect(field(page, "prompt")).to_have_value("third")


def test_a_chain_that_is_stopped_keeps_its_finished_steps(page):
    set_up(page, "first\nsecond", steps=100)
    page.locator("#ip2p_generate").click()
    page.wait_for_function("/\\b1(0[1-9]|[1-8][0-9])[/]200\\b/.test(document.body.innerText)")
    page.locator("#ip2p_interrupt").click()
    expect(page.locator("#ip2p_message")).to_contain_text("stopped")
    expect(page.locator("#ip2p_history .thumbnail-lg")).to_have_count(1)
    expect(field(page, "infotext")).to_have_value(re.compile("^first"))


@pytest.fixture
def chain():
    pictures = [as_png(Image.new("RGB", (8, 8), colour), colour) for colour in ("red", "green", "blue")]
    first, second = (Step(before, before, after, after, name) for before, after, name in zip(pictures, pictures[1:], ("first", "second")))
    return [first, second._replace(painted=Painted("data:image/png;base64,", "a file"))]


def test_stepping_back_restores_the_last_step_s_picture_and_instruction(chain):
    picture, painted, exact, instruction, rest, shown, compared, _, result, *_ = next(step_back(chain))
    assert (picture, rest, shown, instruction) == (chain[1].picture, chain[:1], [(chain[0].after, "first")], "second")
    assert (painted, exact) == (chain[1].painted.text, (picture, "a file"))
    assert (compared, result) == ((chain[0].before, chain[0].after), chain[0].result)
    assert next(use_result(chain, exact))[:2] == (chain[1].result, (chain[1].result, "a file"))


def test_a_file_of_the_chain_that_was_cleared_away_is_a_sentence(chain):
    Path(chain[1].result).unlink()
    with pytest.raises(EditError, match="no longer kept"):
        next(use_result(chain, None))


def test_a_step_of_a_chain_starts_from_the_result_of_the_one_before():
    edit = Edit(image=Image.new("RGB", (64, 64)), instruction="a\nb\nc")
    results = [("one", "small one"), ("two", "small two")]
    assert steps_of(edit, "photo", "small photo", results, Painted()) == [
        Step("photo", "small photo", "one", "small one", "a"),
        Step("one", "small one", "two", "small two", "b"),
    ]


def test_what_was_converted_is_said(page, tmp_path):
    Image.fromarray(np.full((64, 64), 30_000, np.uint16)).save(tmp_path / "deep.png")
    page.locator("#ip2p_image input[type=file]").set_input_files(tmp_path / "deep.png")
    page.locator("#ip2p_image img").wait_for()
    field(page, "prompt").fill("make it winter")
    field(page, "steps").fill("1")
    page.locator("#ip2p_generate").click()
    expect(page.locator("#ip2p_message")).to_contain_text("converted from 16 to 8 bits")


def test_the_result_is_downloaded_at_the_photograph_s_size_and_its_detail_changed_without_a_new_edit(page, tmp_path):
    photo = tmp_path / "large.png"
    Image.open(PHOTO).resize((1804, 1200), Image.Resampling.LANCZOS).save(photo)
    set_up(page)
    page.locator("#ip2p_image input[type=file]").first.wait_for(state="attached")
    page.locator("#ip2p_image").get_by_label("Remove Image").or_(page.locator("#ip2p_image button[aria-label='Clear']")).first.click()
    page.locator("#ip2p_image input[type=file]").set_input_files(photo)
    page.locator("#ip2p_image img").wait_for()
    generate(page)

    def downloaded() -> tuple[Image.Image, str]:
        with page.expect_download() as download:
            page.locator("#ip2p_download").click()
        path = tmp_path / f"{time.monotonic_ns()}.png"
        download.value.save_as(path)
        return Image.open(path).convert("RGB"), infotext_in(path)

    full, infotext = downloaded()
    assert full.size == (1804, 1200) and ", Instruct edit result: full" in infotext and "Instruct edit detail" not in infotext
    page.wait_for_function("[...document.querySelectorAll('#ip2p_compare img')].every(img => img.complete && img.naturalWidth)")
    shown = page.evaluate("[...document.querySelectorAll('#ip2p_compare img')].map(img => Math.max(img.naturalWidth, img.naturalHeight))")
    assert shown == [1024, 1024]
    page.locator("#ip2p_detail input[type=number]").fill("0")
    page.locator("#ip2p_detail input[type=number]").blur()
    expect(field(page, "infotext")).to_have_value(re.compile("Instruct edit detail: 0"))
    enlarged, _ = downloaded()
    assert enlarged.size == full.size and np.abs(np.asarray(enlarged, int) - np.asarray(full, int)).max() > 4
    page.locator("#ip2p_result label", has_text="Working size").click()
    expect(field(page, "infotext")).not_to_have_value(re.compile("Instruct edit result"))
    assert max(downloaded()[0].size) == 512
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "app-result.png", full_page=True)


def test_an_example_is_loaded_and_everything_reset(page):
    page.locator("#ip2p_example").click()
    page.locator("#ip2p_image img").wait_for()
    assert field(page, "prompt").input_value()
    field(page, "text_scale").fill("9")
    page.locator("#ip2p_reset").click()
    page.locator("#ip2p_image img").wait_for(state="detached")
    assert (field(page, "prompt").input_value(), field(page, "text_scale").input_value()) == ("", "7.5")


@pytest.mark.parametrize("what", ["picture", "instruction"])
def test_what_is_missing_is_a_sentence(page, what):
    if what == "instruction":
        set_up(page, instruction=" ")
    else:
        field(page, "prompt").fill("make it winter")
    page.locator("#ip2p_generate").click()
    expect(page.locator("#ip2p_message [role=alert]")).to_contain_text(what)
    assert page.locator("[data-testid=status-tracker] .error:visible, .toast-body").count() == 0


def test_a_running_edit_is_stopped(page):
    set_up(page, steps=200)
    page.locator("#ip2p_generate").click()
    page.wait_for_function("/\\b[1-9][0-9]*[/]200\\b/.test(document.body.innerText)")  # a step of it: it is no longer in the queue
    page.locator("#ip2p_interrupt").click()
    expect(page.locator("#ip2p_message [role=alert]")).to_contain_text("stopped")
    assert page.locator("[data-testid=status-tracker] .error:visible, .toast-body").count() == 0


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_sticks_out_of_the_window(chromium, url, viewport):
    page = chromium.new_context(viewport=viewport).new_page()
    page.set_default_timeout(WAIT)
    page.goto(url)
    page.locator("#ip2p_generate").wait_for()
    page.wait_for_function("window.ip2p")
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=viewport["width"])
    page.context.close()


def painted(page) -> str:
    """What the field of the mask holds."""
    return page.locator("#ip2p_mask").locator("textarea, input").first.input_value()


def paint(page) -> None:
    """A stroke over the middle of the picture."""
    page.locator("#ip2p_mask_group .label-wrap").click()
    canvas = page.locator("#ip2p_paint.ip2p-open")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=4)
    page.mouse.up()
    page.wait_for_function("document.querySelector('#ip2p_mask textarea, #ip2p_mask input').value")


def colour_at(page, selector: str, x: float, y: float) -> list[int]:
    """[r, g, b] of a displayed picture, at shares of its width and height."""
    return page.evaluate(
        """async ([selector, x, y]) => {
            const img = new Image();
            img.src = document.querySelector(selector).src;
            await img.decode();
            const [width, height] = [img.naturalWidth, img.naturalHeight];
            const canvas = Object.assign(document.createElement('canvas'), {width, height});
            canvas.getContext('2d').drawImage(img, 0, 0);
            return [...canvas.getContext('2d').getImageData(x * width, y * height, 1, 1).data].slice(0, 3);
        }""",
        [selector, x, y],
    )


def test_a_mask_belongs_to_its_picture_goes_on_with_the_result_and_comes_back(page, tmp_path):
    set_up(page)
    field(page, "prompt").fill("make it winter")
    paint(page)
    label = page.locator("#ip2p_mask_group .label-wrap")
    expect(label).to_contain_text("Edit only here · on")
    mask = painted(page)
    assert ", Instruct edit mask: True" in generate(page)
    before, after = (f"#ip2p_compare img{which}" for which in (":not(.fixed)", ".fixed"))
    assert colour_at(page, before, 0.9, 0.5) == colour_at(page, after, 0.9, 0.5)
    assert colour_at(page, before, 0.45, 0.5) != colour_at(page, after, 0.45, 0.5)
    original, result = page.locator(before), page.locator(after)
    assert (original.get_attribute("alt"), result.get_attribute("alt")) == ("The original", "The result")

    page.locator("#ip2p_hold").hover()
    page.mouse.down()
    expect(result).to_be_hidden()
    expect(original).to_be_visible()
    page.mouse.up()
    expect(result).to_be_visible()
    handle = page.locator("#ip2p_compare [role=slider]")
    for key, share in (("End", r"9[5-9]|100"), ("Home", "[0-5]")):  # Gradio's handle stays within the picture
        handle.press(key)
        expect(handle).to_have_attribute("aria-valuenow", re.compile(f"^({share})$"))
    shown = int(handle.get_attribute("aria-valuenow"))
    handle.press("ArrowRight")
    page.wait_for_function("shown => document.querySelector('#ip2p_compare [role=slider]').ariaValueNow > shown", arg=shown)

    source = page.locator("#ip2p_image img").get_attribute("src")
    page.locator("#ip2p_use_result").click()
    page.wait_for_function("source => document.querySelector('#ip2p_image img')?.src !== source", arg=source)
    assert painted(page) == mask
    page.locator("#ip2p_image input[type=file]").first.wait_for(state="attached")
    Image.open(PHOTO).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "other.png")
    page.locator("#ip2p_image button[aria-label='Remove Image'], #ip2p_image button[aria-label='Clear']").first.click()
    page.locator("#ip2p_image input[type=file]").set_input_files(tmp_path / "other.png")
    page.locator("#ip2p_image img").wait_for()
    expect(label).to_have_text(re.compile(r"^Edit only here\W*$"))
    assert painted(page) == ""
    page.locator("#ip2p_history_back").click()
    page.wait_for_function("mask => document.querySelector('#ip2p_mask textarea, #ip2p_mask input').value === mask", arg=mask)
    expect(page.locator("#ip2p_compare img")).to_have_count(0)


def test_from_a_picture_to_its_result_by_keyboard_alone(page):
    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"no Tab reaches {selector}")

    page.locator("body").press("Tab")
    tab_to("#ip2p_image button, #ip2p_image [role=button]")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(PHOTO)
    page.locator("#ip2p_image img").wait_for()
    assert page.locator("#ip2p_image img").get_attribute("alt") == "The picture to edit"
    tab_to("#ip2p_prompt textarea")
    page.keyboard.type("make it winter")
    tab_to("#ip2p_steps input[type=number]")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    page.evaluate("document.querySelector('#ip2p_prompt textarea').focus()")
    tab_to("#ip2p_generate, #ip2p_generate button")
    page.keyboard.press("Enter")
    expect(field(page, "infotext")).to_have_value(re.compile("^make it winter\nSteps: 2"))
    tab_to("#ip2p_compare [role=slider]")
    tab_to("#ip2p_hold, #ip2p_hold button")
    page.keyboard.down(" ")
    expect(page.locator("#ip2p_compare img.fixed")).to_be_hidden()
    page.keyboard.up(" ")
    expect(page.locator("#ip2p_compare img.fixed")).to_be_visible()


def test_files_dropped_together_come_back_as_one_zip_and_finished_ones_are_passed_over(page, tmp_path):
    for name, colour in (("one.png", "red"), ("two.png", "green")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    (tmp_path / "bad.png").write_text("no picture")
    field(page, "prompt").fill("make it winter")
    field(page, "steps").fill("1")
    field(page, "longest_side").fill("64")
    field(page, "longest_side").blur()
    page.get_by_role("tab", name="Many pictures").click()
    page.locator("#ip2p_edit_all").click()
    expect(page.locator("#ip2p_message [role=alert]")).to_contain_text("There are no pictures to edit")
    page.locator("#ip2p_files input[type=file]").set_input_files([tmp_path / name for name in ("one.png", "bad.png", "two.png")])
    expect(page.locator("#ip2p_files")).to_contain_text("two")
    page.locator("#ip2p_edit_all").click()
    expect(page.locator("#ip2p_outcome")).to_contain_text("2 edited, 0 there already, 1 failed.")
    expect(page.locator("#ip2p_outcome")).to_contain_text("bad.png: The picture can't be read")
    expect(page.locator("#ip2p_message [role=alert]")).to_have_count(0)
    with page.expect_download() as download:
        page.locator("#ip2p_packed").click()
    assert ZipFile(download.value.path()).namelist() == ["one.png", "two.png"]
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "app-many.png", full_page=True)
    field(page, "prompt").press("Enter")
    expect(page.locator("#ip2p_outcome")).to_contain_text("0 edited, 2 there already, 1 failed.")


def test_scales_are_moved_and_a_ready_instruction_fills_the_fields(page):
    page.locator("#ip2p_edit_more").click()
    expect(field(page, "text_scale")).to_have_value("8.5")
    expect(field(page, "image_scale")).to_have_value("1.4")
    page.locator("#ip2p_edit_less").click()
    expect(field(page, "text_scale")).to_have_value("7.5")
    page.locator("#ip2p_picker .label-wrap").click()
    page.locator("#ip2p_preset_name input").click()
    page.locator("#ip2p_preset_name ul li").first.click()
    page.wait_for_function("document.querySelector('#ip2p_prompt textarea').value")
    first = field(page, "prompt").input_value()
    page.locator("#ip2p_preset_word_1 input").fill("covered in moss")
    page.locator("#ip2p_preset_word_1 input").press("Enter")
    expect(field(page, "prompt")).to_have_value(re.compile("covered in moss"))
    assert "moss" not in first
    page.locator("#ip2p_size_mode label", has_text="Custom").click()
    expect(page.locator("#ip2p_width")).to_be_visible()
    expect(page.locator("#ip2p_longest_side")).to_be_hidden()


def wait_for_answers(page) -> None:
    """The server answers in turn, and a press of *Edit more* shows. Gradio throws where a list gets other choices while it is open."""
    before = field(page, "text_scale").input_value()
    page.locator("#ip2p_edit_more").click()
    expect(field(page, "text_scale")).not_to_have_value(before)


def choose(page, name: str, value: str) -> None:
    page.locator(f"#ip2p_{name} input").click()
    page.locator(f"#ip2p_{name} ul li", has_text=value).first.click()
    if name == "preset_group":
        wait_for_answers(page)


def test_a_ready_instruction_of_one_s_own_is_saved_renamed_and_deleted(page):
    message = page.locator("#ip2p_preset_message [role=alert]")
    page.locator("#ip2p_picker .label-wrap").click()
    page.locator("#ip2p_preset_delete").click()
    expect(message).to_contain_text("Choose one of your own first")
    field(page, "prompt").fill("make it mine")
    field(page, "text_scale").fill("5")
    field(page, "preset_own_name").fill("Mine")
    page.locator("#ip2p_preset_save").click()
    expect(message).to_contain_text("Saved as “Mine”")
    expect(page.locator("#ip2p_preset_group input")).to_have_value("own")
    expect(page.locator("#ip2p_preset_name input")).to_have_value("Mine")
    field(page, "preset_own_name").fill("Yours")
    page.locator("#ip2p_preset_rename").click()
    expect(message).to_contain_text("“Mine” is “Yours” now")

    page.reload()
    page.wait_for_function("window.ip2p")
    page.locator("#ip2p_picker .label-wrap").click()
    choose(page, "preset_group", "own")
    choose(page, "preset_name", "Yours")
    expect(field(page, "prompt")).to_have_value("make it mine")
    expect(field(page, "text_scale")).to_have_value("5")
    screenshot(page, "app-own")
    page.locator("#ip2p_preset_delete").click()
    expect(message).to_contain_text("Deleted “Yours”")
    expect(page.locator("#ip2p_preset_name input")).to_have_value("")


def test_variations_stand_side_by_side_and_the_pressed_one_is_the_result(page):
    set_up(page, instruction="nothing yet", steps=1)
    page.locator("#ip2p_picker .label-wrap").click()
    choose(page, "preset_group", "season")
    page.locator("#ip2p_preset_name input").click()
    page.locator("#ip2p_preset_name ul li").first.click()
    expect(field(page, "prompt")).not_to_have_value("nothing yet")
    field(page, "steps").fill("1")
    field(page, "steps").blur()
    page.locator("#ip2p_vary .label-wrap").click()
    page.locator("#ip2p_vary_word input").click()
    page.locator("#ip2p_vary_word ul li").nth(1).click()
    lines = field(page, "variations")
    expect(lines).not_to_have_value("")
    instructions = lines.input_value().splitlines()
    first = generate(page)
    assert len(instructions) > 2 and first.startswith(instructions[0] + "\n")
    shown = page.locator("#ip2p_side_by_side .thumbnail-lg")
    expect(shown).to_have_count(len(instructions))
    assert [one.inner_text().strip() for one in shown.all()] == instructions
    result = page.locator(AFTER).last.get_attribute("src")
    shown.nth(1).click()
    expect(field(page, "infotext")).to_have_value(re.compile("^" + re.escape(instructions[1])))
    expect(page.locator(AFTER).last).not_to_have_attribute("src", result)
    assert first.split("Seed: ")[1].split(",")[0] in field(page, "infotext").input_value()
    expect(page.locator("#ip2p_history .thumbnail-lg")).to_have_text([instructions[1]])
    screenshot(page, "app-variations")
    page.locator("#ip2p_result label", has_text="Own size").click()
    expect(field(page, "infotext")).to_have_value(re.compile(re.escape(instructions[1]) + "(?s:.*)result: own-size"))
    expect(shown).to_have_count(len(instructions))
    take_back(page, 0)
    expect(shown).to_have_count(0)


def screenshot(page, name: str) -> None:
    """Kept where $IP2P_SCREENSHOTS says, to be looked at."""
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.skipif(bool(missing("lips")), reason=missing("lips"))
def test_the_card_make_up_edits_the_lips_of_a_portrait_and_leaves_everything_else(page, tmp_path):
    page.locator("#ip2p_image input[type=file]").set_input_files(ASTRONAUT)
    page.locator("#ip2p_image img").wait_for()
    page.locator("#ip2p_card_make-up").click()
    expect(page.locator("#ip2p_region input").first).to_have_value("lips")
    expect(page.locator("#ip2p_region_only input")).to_be_checked()
    field(page, "steps").fill("1")
    field(page, "steps").blur()
    infotext = generate(page)
    assert "lipstick" in infotext and "Instruct edit region: lips; only" in infotext
    expect(page.locator("#ip2p_download")).to_be_enabled()
    with page.expect_download() as download:
        page.locator("#ip2p_download").click()
    download.value.save_as(tmp_path / "lips.png")
    result, photograph = (np.asarray(Image.open(file).convert("RGB")) for file in (tmp_path / "lips.png", ASTRONAUT))
    (lips,) = regions_named(Edit(Image.fromarray(photograph), "x", region=Where(NAME, "lips")))
    inside = lips.levels() > 0
    assert (result[~inside] == photograph[~inside]).all() and (result != photograph).any(-1)[inside].mean() > 0.3


@pytest.mark.skipif(not AXE.is_file(), reason=NO_AXE)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, url, theme):
    page.goto(f"{url}?__theme={theme}")
    page.wait_for_function("window.ip2p")
    set_up(page, steps=1)
    generate(page)
    page.locator("#ip2p_mask_group .label-wrap").click()
    page.locator("#ip2p_picker .label-wrap").click()
    page.locator("#ip2p_preset_group").wait_for()
    page.evaluate(AXE.read_text(encoding="utf8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [
        (broken["id"], [node["html"][:200] for node in broken["nodes"]]) for broken in found if broken["impact"] in ("serious", "critical")
    ]
    assert serious == []
