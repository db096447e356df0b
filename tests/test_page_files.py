"""The standalone page over HTTP, as a program or a hostile visitor uses it: which files it takes, and what it gives back."""

import base64
import io
import json
import os
import pickle
import re
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
pytest.importorskip("gradio")

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file

from ip2p.app import build
from ip2p.app.clearing import DAY, clear_old, use_own_folder
from ip2p.app.events import Events
from ip2p.app.layout import Page
from ip2p.app.many import stamped
from ip2p.app.painted import Painted, painted_from, painted_on
from ip2p.app.ready import FILLED, Ready
from ip2p.app.running import Running
from ip2p.app.settings_fields import NAMES
from ip2p.app.steps import Step, choose
from ip2p.app.uploads import as_png
from ip2p.app.working import MOST, Kept, Working
from ip2p.checkpoints.defaults import ModelDefaults
from ip2p.errors import EditError
from ip2p.images import infotext_in, read_image
from ip2p.presets import chosen, filled, load, names_of
from tiny_model import save_folder, tiny_editor

ROOT = Path(__file__).resolve().parents[1]
FIELDS = [
    "make it winter",
    "",
    1,
    "Fixed",
    7,
    "Fixed",
    7.5,
    1.5,
    "Euler",
    "full",
    1,
    "As the picture",
    512,
    512,
    512,
    "",
    False,
    "",
    "exact",
]
EDIT = [*FIELDS, ""]  # nothing painted
META = {"_type": "gradio.FileData"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_folder(tiny_editor(), folder)
    return str(folder)


@pytest.fixture(scope="module")
def url(model):
    page = build(model)
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True)
    yield address
    page.close()


@pytest.fixture
def client(url):
    return Client(url, verbose=False)


def call(url, endpoint, data):
    """(whether it succeeded, what came back) of a request that says anything at all."""
    start = urllib.request.Request(
        f"{url}gradio_api/call/{endpoint}", json.dumps({"data": data}).encode(), {"Content-Type": "application/json"}
    )
    event = json.load(urllib.request.urlopen(start))["event_id"]
    stream = urllib.request.urlopen(f"{url}gradio_api/call/{endpoint}/{event}", timeout=120).read().decode()
    kind, data = next(part for part in stream.split("\n\n") if "heartbeat" not in part).split("\n")
    return kind == "event: complete", json.loads(data.removeprefix("data: "))


def data_url(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"url": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()}


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    path = tmp_path_factory.mktemp("home") / "private.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


@pytest.fixture(scope="module")
def link(private):
    link = Path(get_upload_folder()) / f"link-{os.getpid()}.png"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(private)
    yield link
    link.unlink()


FORMS = {
    "no meta": lambda path, link: {"path": str(path)},
    "wrong meta": lambda path, link: {"path": str(path), "meta": {"_type": "file"}},
    "meta": lambda path, link: {"path": str(path), "meta": META},
    "list": lambda path, link: [{"path": str(path)}],
    "list with meta": lambda path, link: [{"path": str(path), "meta": META}],
    "text": lambda path, link: str(path),
    "inside": lambda path, link: {"image": {"path": str(path)}, "path": None},
    "link": lambda path, link: {"path": str(link)},
    "link with meta": lambda path, link: {"path": str(link), "meta": META},
    "upwards": lambda path, link: {"path": f"{get_upload_folder()}/../..{path}"},
    "address": lambda path, link: {"path": str(path), "url": "http://localhost/a.png"},
    "nowhere": lambda path, link: {"path": str(path) + "x", "meta": META},
    "NUL": lambda path, link: {"path": f"{path}\0"},
    "number": lambda path, link: {"path": 7},
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_picture_of_the_server_is_given_to_a_visitor(url, private, link, form):
    whole, said = call(url, "edit", [form(private, link), *EDIT])
    assert not whole
    assert said["error"] == "This picture was not uploaded here: drop a file on the picture field."


@pytest.mark.parametrize("endpoint", ["use_result", "step_back", "load_example", "example", "reset", "stop_edit"])
def test_no_other_event_gives_a_file_of_the_server(url, private, link, endpoint):
    for form in ("no meta", "wrong meta", "list", "link"):
        picture = FORMS[form](private, link)
        for sent in ([picture], [[[picture, picture, "make it winter"]]]):
            said = json.dumps(call(url, endpoint, sent))
            assert "private" not in said and (endpoint == "example" or "file=" not in said)


def pictures():
    rows, columns = np.mgrid[0:64, 0:64]
    disc = np.zeros((64, 64, 4), np.uint8)
    disc[(rows - 32) ** 2 + (columns - 32) ** 2 < 400] = 200, 40, 40, 255
    yield "cut out", Image.fromarray(disc)
    yield "grey, 16 bits", Image.fromarray(np.linspace(0, 65535, 64)[None].repeat(64, 0).astype(np.uint16))
    grey = np.dstack([np.full((64, 64), 30, np.uint8), np.where(rows < 32, 255, 0).astype(np.uint8)])
    yield "grey, half transparent", Image.fromarray(grey, "LA")


@pytest.mark.parametrize("picture", [picture for _, picture in pictures()], ids=[name for name, _ in pictures()])
@pytest.mark.parametrize("by", ["upload", "data URL"])
def test_the_page_edits_the_picture_that_the_command_line_edits(url, client, tmp_path, picture, by):
    picture.save(tmp_path / "photo.png")
    if by == "upload":
        (before, _), *_ = client.predict(handle_file(tmp_path / "photo.png"), *EDIT, api_name="/edit")
    else:
        whole, ((before, _), *_) = call(url, "edit", [data_url(picture), *EDIT])
        assert whole
        before = before["path"]
    before = Image.open(before)
    assert (np.asarray(before) == np.asarray(read_image(tmp_path / "photo.png"))).all()


def test_a_picture_that_gradio_can_t_open_is_edited(client, tmp_path):
    """A text of 2 MB, which Pillow takes for an attack."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("comment", "x" * 2_000_000, zip=True)
    Image.new("RGB", (64, 64), "green").save(tmp_path / "photo.png", pnginfo=texts)
    (before, _), *_ = client.predict(handle_file(tmp_path / "photo.png"), *EDIT, api_name="/edit")
    assert Image.open(before).getpixel((0, 0)) == (0, 128, 0)


def test_a_result_is_a_png_with_its_settings_and_going_on_from_it_loses_nothing(client, tmp_path):
    photo = ROOT / "ip2p" / "examples" / "chelsea.jpg"
    (_, after), *_, infotext, _, _ = client.predict(handle_file(photo), *EDIT, api_name="/edit")
    assert Image.open(after).format == "PNG" and infotext_in(after) == infotext and "Seed: 7" in infotext
    used, _ = client.predict(api_name="/use_result")
    assert Path(used).read_bytes() == Path(after).read_bytes()
    (again, _), *_ = client.predict(handle_file(used), *EDIT, api_name="/edit")
    assert (np.asarray(Image.open(again)) == np.asarray(Image.open(after))).all()


def large(tmp_path) -> Path:
    photo = tmp_path / "large.png"
    Image.open(ROOT / "ip2p" / "examples" / "chelsea.jpg").resize((1804, 1200), Image.Resampling.LANCZOS).save(photo)
    return photo


def test_the_whole_result_is_the_command_line_s_and_what_is_shown_is_small(client, model, tmp_path):
    from ip2p.__main__ import main

    photo = large(tmp_path)
    (before, after), *_, infotext, whole, _ = client.predict(handle_file(photo), *EDIT, api_name="/edit")
    assert Image.open(before).size == Image.open(after).size == (1024, 681) and Image.open(whole).size == (1804, 1200)
    assert infotext_in(whole) == infotext and "Instruct edit result: full" in infotext
    argv = ["edit", photo, FIELDS[0], "--output", tmp_path / "cli.png", "--model", model, "--steps", 1, "--seed", 7, "--sampler", "Euler"]
    assert main([str(part) for part in [*argv, "--text-scale", 7.5, "--image-scale", 1.5]]) == 0
    assert np.abs(np.asarray(Image.open(whole), int) - np.asarray(Image.open(tmp_path / "cli.png"), int)).max() <= 2
    assert infotext_in(tmp_path / "cli.png") == infotext


def test_another_kind_of_result_needs_no_new_edit(client, url, tmp_path, monkeypatch):
    *_, first, full, _ = client.predict(handle_file(large(tmp_path)), *EDIT, api_name="/edit")
    monkeypatch.setattr("ip2p.editor.Editor.edit", lambda *args, **options: pytest.fail("a new edit was made"))

    def again(result, detail):
        (before, _), *_, infotext, whole, _ = client.predict(result, detail, api_name="/again")
        assert Image.open(before).size[0] == 1024
        assert infotext_in(whole) == infotext
        return np.asarray(Image.open(whole), int), infotext

    full = np.asarray(Image.open(full), int)
    half, said = again("full", 0.5)
    assert half.shape == full.shape and "Instruct edit detail: 0.5" in said
    enlarged, said = again("own-size", 1)
    assert "Instruct edit result: own-size" in said
    assert np.abs(2 * half - full - enlarged).mean() <= 0.7 and np.abs(full - enlarged).mean() > 1.5
    working, _ = again("working", 1)
    assert working.shape == (341, 512, 3)
    same, said = again("full", 1)
    assert np.abs(same - full).max() <= 1 and said == first
    used, _ = client.predict(api_name="/use_result")
    assert Image.open(used).size == (1804, 1200)
    chained = client.predict(api_name="/step_back")
    assert chained[3] == []


def test_a_fast_result_is_finished_exactly_from_the_same_seed(client, half):
    photo = handle_file(ROOT / "ip2p" / "examples" / "chelsea.jpg")
    steps_4 = [*FIELDS[:2], 4, *FIELDS[3:-1]]
    *_, infotext, exact, _ = client.predict(photo, *steps_4, "exact", painted(half), api_name="/edit")
    with pytest.raises(Exception, match="This result is exact already"):
        client.predict("full", 1, api_name="/finish_exactly")
    _, _, _, _, chain, *_, said, fast, _ = client.predict(photo, *steps_4, "fast", painted(half), api_name="/edit")
    assert "Instruct edit speed: fast" in said and Path(fast).read_bytes() != Path(exact).read_bytes()
    _, again, *_, said, finished, _ = client.predict("full", 1, api_name="/finish_exactly")
    assert said == infotext and Path(finished).read_bytes() == Path(exact).read_bytes()
    assert len(again) == len(chain), "it takes the place of the fast one"


def test_of_a_result_that_is_not_kept_it_says_so(client, url):
    photo = handle_file(ROOT / "ip2p" / "examples" / "chelsea.jpg")
    for seed in (7, 8):
        client.predict(photo, *EDIT[:4], seed, *EDIT[5:], api_name="/edit")
    client.predict(api_name="/step_back")
    with pytest.raises(Exception, match="no longer kept here: press Generate again"):
        client.predict("full", 0.5, api_name="/again")


def working_of(file: str) -> Working:
    return Working({}, Painted(), file, np.zeros((8, 8, 3)), 7, (7.5, 1.5))


def test_of_many_variations_those_of_the_sessions_that_waited_longest_go_first():
    kept = Kept(max_bytes=5 * working_of("").bytes)
    kept.put("first", [working_of("a"), working_of("b")])
    kept.put("second", [working_of(name) for name in "cde"])
    assert kept.get("first", "b").file == "b" and kept.get("second", "d").file == "d"
    kept.put("third", [working_of("f")])
    assert kept.get("second", "e") and kept.get("third", "f")
    with pytest.raises(EditError):
        kept.get("first", "a")
    kept.put("large", [working_of(str(number)) for number in range(9)])
    assert kept.get("large", "8"), "the newest stays whatever its size"


def test_the_last_edits_of_some_sessions_are_kept_and_no_more():
    kept = Kept()
    for number in range(MOST + 1):
        kept.put(f"session {number}", [working_of(f"file {number}")])
    assert kept.get("session 1", "file 1").file == "file 1"
    for session, file in (("session 0", "file 0"), ("session 1", "file 2"), (None, "file 1"), ("", "file 1")):
        with pytest.raises(EditError, match="no longer kept"):
            kept.get(session, file)
    kept.put("another", [working_of("file")])
    assert kept.get("session 1", "file 1"), "what was asked for last stays"
    with pytest.raises(EditError):
        kept.get("session 2", "file 2")
    kept.put(None, [working_of("file")])
    assert len(kept.of_session) == MOST


def test_stepping_back_gives_the_file_that_was_uploaded(client, tmp_path):
    photo = ROOT / "ip2p" / "examples" / "chelsea.jpg"
    client.predict(handle_file(photo), *EDIT, api_name="/edit")
    picture, _, instruction, shown, compared, infotext, result, *_ = client.predict(api_name="/step_back")
    assert Path(picture).read_bytes() == photo.read_bytes()
    assert (shown, instruction, compared, infotext, result) == ([], "make it winter", None, "", None)


@pytest.mark.parametrize(
    "place, value, said",
    [
        (2, 2.5, "The steps must be a whole number, not 2.5."),
        (2, "two", "The steps must be a number, not two."),
        (2, 900, "The steps must be between 1 and 200, not 900."),
        (4, float("nan"), "The seed must be a number, not nan."),
        (4, float("inf"), "The seed must be a number, not inf."),
        (4, 0.5, "The seed must be a whole number, not 0.5."),
        (4, None, "The seed is empty: put a number there."),
        (6, True, "The text scale must be a number, not True."),
        (7, [1], "The image scale must be a number, not [1]."),
        (0, None, "The instruction is empty: say what to change, for example “make it winter”."),
        (9, "large", "There is no result “large”. Known ones: working, own-size, full."),
        (9, None, "There is no result “None”. Known ones: working, own-size, full."),
        (10, "all", "The detail must be a number, not all."),
        (10, -1, "The detail must be between 0 and 1, not -1.0."),
        (18, "furious", "There is no speed “furious”. Known ones: exact, fast."),
        (8, "Newton", "There is no sampler “Newton”. Known ones: Euler a, Euler, DPM++ 2M, DDIM, UniPC, LCM."),
    ],
)
def test_a_field_that_cannot_be_taken_is_a_sentence_that_names_it(url, place, value, said):
    fields = [*EDIT]
    fields[place] = value
    whole, answer = call(url, "edit", [data_url(Image.new("RGB", (64, 64))), *fields])
    assert (whole, answer["error"]) == (False, said)


def test_a_picture_beyond_what_is_taken_over_http_is_a_sentence(url):
    whole, said = call(url, "edit", [data_url(Image.new("1", (20_000, 400))), *EDIT])
    assert not whole and "over HTTP" in said["error"]


def test_an_example_is_loaded_wherever_the_page_was_started(model, tmp_path):
    """In a process of its own, because Gradio takes files of the working directory."""
    script = f"""
from ip2p.app import build
from gradio_client import Client
page = build({model!r})
_, url, _ = page.launch(prevent_thread_lock=True, quiet=True)
print("loaded", Client(url, verbose=False).predict(api_name="/example")[0])
page.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", script], cwd="/usr", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^loaded .*\.jpg$", done.stdout, re.MULTILINE)


def test_an_edit_is_stopped_by_its_own_session_and_no_other():
    running = Running()
    with running.edit("one") as first, running.edit("two") as other, running.edit("") as nobody_s, running.edit(None) as nobody_s_either:
        with running.edit("one") as second:
            pass
        running.stop("")
        running.stop(None)
        running.stop("one")
        stopped = [stop.is_set() for stop in (first, second, other, nobody_s, nobody_s_either)]
    assert stopped == [True, False, False, False, False]
    assert running.stops == {}


def test_an_edit_that_fails_leaves_nothing_to_stop():
    running = Running()
    with pytest.raises(EditError), running.edit("one"):
        raise EditError("No.")
    assert running.stops == {}


def painted(mask: Image.Image) -> str:
    """What the browser sends of a mask: the brush's colour, clear where the picture is to stay."""
    layer = Image.new("RGB", mask.size, (255, 64, 64))
    layer.putalpha(mask)
    return data_url(layer)["url"]


@pytest.fixture
def half():
    """A mask of 512x341, its left half white."""
    mask = Image.new("L", (512, 341))
    mask.paste(255, (0, 0, 256, 341))
    return mask


def test_beside_what_is_painted_every_pixel_stays(client, half):
    photo = ROOT / "ip2p" / "examples" / "chelsea.jpg"
    *_, infotext, whole, _ = client.predict(handle_file(photo), *FIELDS, painted(half), api_name="/edit")
    before, after = np.asarray(read_image(photo), int), np.asarray(Image.open(whole), int)
    middle = before.shape[1] // 2
    assert (before[:, middle + 4 :] == after[:, middle + 4 :]).all() and np.abs(before - after)[:, : middle - 4].mean() > 4
    assert "Instruct edit mask: True" in infotext
    *_, infotext, enlarged, _ = client.predict("own-size", 1, api_name="/again")
    again = np.asarray(Image.open(enlarged), int)
    assert (before[:, middle + 4 :] == again[:, middle + 4 :]).all() and np.abs(before - again)[:, : middle - 4].mean() > 4
    assert "Instruct edit result: own-size" in infotext and "mask: True" in infotext
    used, _ = client.predict(api_name="/use_result")
    _, text, *_ = client.predict(api_name="/step_back")
    assert Path(used).read_bytes() == Path(enlarged).read_bytes() and text == painted(half), "the mask comes back with its picture"


def test_a_mask_file_keeps_its_own_pixels_where_nothing_was_painted_since():
    size = 1804, 1200
    left = Image.new("L", size)
    left.paste(255, (0, 0, 901, 1200))
    file, picture = as_png(left, "mask"), as_png(Image.new("RGB", size), "photo")
    mask = painted_from(file, picture)
    assert np.array_equal(mask.mask(size), left)
    shown = Image.open(io.BytesIO(base64.b64decode(mask.text.partition(",")[2])))
    shown.paste((255, 64, 64, 255), (800, 100, 900, 200))
    more = np.asarray(Painted(data_url(shown)["url"], file).mask(size))
    assert (more[180:350, 1415:1580] == 255).all() and (more[400:, 901:] == 0).all() and (more[:, :901] == 255).all()
    assert Painted(painted(Image.new("L", (64, 64))), file).mask(size) is None, "all of it erased is nothing painted"


def test_a_mask_of_another_size_than_its_picture_is_a_sentence():
    file, picture = as_png(Image.new("L", (64, 64), 255), "mask"), as_png(Image.new("RGB", (64, 48)), "photo")
    with pytest.raises(EditError, match="The mask is 64x64 but the picture is 64x48: make them the same size"):
        painted_from(file, picture)


def test_the_mask_file_of_another_picture_is_forgotten():
    assert painted_on("this", "data:…", ("this", "mask")) == Painted("data:…", "mask")
    assert painted_on("that", "data:…", ("this", "mask")) == Painted("data:…")
    assert painted_on("that", None, None) == Painted()


def test_a_size_of_one_s_own_is_the_one_that_is_edited_at(client):
    photo = handle_file(ROOT / "ip2p" / "examples" / "chelsea.jpg")
    *_, infotext, _, _ = client.predict(photo, *FIELDS[:11], "Custom", 512, 128, 64, "", False, "", "exact", "", api_name="/edit")
    assert ", Size: 128x64," in infotext
    *_, infotext, _, _ = client.predict(photo, *FIELDS[:11], "As the picture", 128, 512, 512, "", False, "", "exact", "", api_name="/edit")
    assert ", Size: 128x128," in infotext and "longest side: 128" in infotext


def test_of_a_result_no_picture_of_the_photograph_s_size_stays_in_memory(model, tmp_path):
    """What a session holds weighs what the network's own size does: the rest lies in files."""
    events = Events(model)
    photo = save_file_to_cache(large(tmp_path), get_upload_folder())
    request = gr.Request(session_hash="somebody")
    values = [{"path": photo}, *FIELDS[:9], "own-size", 1, "Custom", 64, 64, 64, "", False, "", "exact", "", None, []]
    *_, chain, _, _, whole, _ = next(events.generate(request, lambda *_, **__: None, *values))
    held = pickle.dumps((events.kept.of_session, chain))
    assert Image.open(whole).size == (1804, 1200)
    assert len(held) < 100_000 < 1804 * 1200


def test_many_pictures_are_edited_once_and_a_bad_file_is_named(client, tmp_path):
    for name, colour in (("one.png", "red"), ("two.png", "green"), ("three.png", "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / name)
    (tmp_path / "notes.png").write_text("no picture")
    at_64 = [*FIELDS[:11], "Custom", 64, 64, 64, "", False, "", "exact"]

    def edit_all(*names, fields=at_64):
        said, packed, _ = client.predict([handle_file(tmp_path / name) for name in names], *fields, api_name="/edit_all")
        return said, ZipFile(packed)

    said, packed = edit_all("one.png", "notes.png", "two.png")
    assert "2 edited, 0 there already, 1 failed." in said and "<b>notes.png</b>: The picture can't be read" in said.replace("&#x27;", "'")
    assert packed.namelist() == ["one.png", "two.png"]
    packed.extract("two.png", tmp_path / "results")
    assert infotext_in(tmp_path / "results" / "two.png").startswith("make it winter\nSteps: 1")
    said, packed = edit_all("one.png", "two.png", "three.png")
    assert "1 edited, 2 there already, 0 failed." in said and packed.namelist() == ["one.png", "two.png", "three.png"]
    said, packed = edit_all("one.png", fields=["make it night", *at_64[1:]])
    assert "1 edited, 0 there already" in said and packed.namelist() == ["one (2).png"]


def test_no_pictures_at_all_is_a_sentence(client):
    with pytest.raises(Exception, match="no pictures to edit: drop some"):
        client.predict([], *FIELDS, api_name="/edit_all")


def test_what_is_drawn_for_every_picture_does_not_tell_finished_ones_apart():
    settings = {"seed": 7, "text_scale": 6.5, "image_scale": 1.3, "steps": 4}
    drawn = {"seed_mode": "Random", "scale_mode": "Random"}
    other = {**settings, "seed": 8, "text_scale": 8.0, "image_scale": 1.7}
    assert stamped(settings, drawn) == stamped(other, drawn)
    assert stamped(settings, {**drawn, "seed_mode": "Fixed"}) != stamped(other, {**drawn, "seed_mode": "Fixed"})


@pytest.fixture
def ready():
    """Ready instructions on a page for a model."""

    def made(defaults: ModelDefaults) -> Ready:
        with gr.Blocks():
            return Ready({name: gr.Textbox() for name in FILLED}, defaults, None)

    return made


@pytest.mark.parametrize("defaults", [{}, {"text_scale": 2.0}, {"passes": 1}], ids=["published", "of its own", "student"])
def test_ready_instructions_fill_the_fields_but_for_what_the_model_keeps(ready, defaults):
    keeps = ModelDefaults(**defaults).keeps
    ready = ready(ModelDefaults(**defaults))
    name = names_of(load(), "weather")[0]
    preset = chosen(load(), "weather", name)
    instruction, text, image, steps, detail, region, only, variations, vary, *words = ready.picked("weather", name, None)
    assert (region, only, variations) == ("What is painted, or everywhere", False, "")
    assert (instruction, detail) == (preset.instruction_for(), preset.detail)
    for setting, value in {"text_scale": text, "image_scale": image, "steps": steps}.items():
        assert value == (gr.skip() if setting in keeps else getattr(preset, setting))
    assert [word["visible"] for word in words] == [place < len(preset.words) for place in range(len(words))]
    assert set(vary["choices"][1:]) == {word for word in preset.words if preset.choices.get(word)}
    texts = (["odd"] * len(preset.words) + [None] * 3)[:3]
    assert ready.worded("weather", name, *texts, None) == filled(preset, ["odd"] * len(preset.words))
    long = ("x" * 10_000, None, None, None)
    assert ready.worded("weather", name, *long) == ready.worded("weather", "no such name", *long) == gr.skip()
    word = preset.words[0]
    lines = ready.varied("weather", name, word, None, None, None, None).splitlines()
    assert lines == list(preset.variations(word)) and len(lines) == len(preset.choices[word])
    names, *words = ready.listed("season", None)
    assert (names["choices"], names["value"]) == (names_of(load(), "season"), None) and not any(word["visible"] for word in words)


def with_variations(text):
    return [text if name == "variations" else value for name, value in zip(NAMES, FIELDS, strict=True)]


def test_variations_are_made_side_by_side_and_the_pressed_one_goes_on(client, tmp_path):
    photo = large(tmp_path)
    edit = [*with_variations("make it winter\n\nmake it night \nmake it autumn"), ""]
    (_, first), *_, shown, infotext, whole, _ = client.predict(handle_file(photo), *edit, api_name="/edit")
    assert [one["caption"] for one in shown["value"]] == ["make it winter", "make it night", "make it autumn"]
    pixels = [np.asarray(Image.open(one["image"])) for one in shown["value"]]
    assert (pixels[0] == np.asarray(Image.open(first))).all() and (pixels[0] != pixels[1]).any() and (pixels[1] != pixels[2]).any()
    assert infotext.startswith("make it winter\n") and infotext_in(whole) == infotext
    _, _, shown, infotext, whole, _ = client.predict("working", 1, api_name="/again")
    assert infotext.startswith("make it winter\n") and Image.open(whole).size == (512, 341)
    assert [Image.open(one["image"]).width for one in shown["value"]] == [512, 1024, 1024]
    *_, shown, _ = client.predict(api_name="/step_back")
    assert shown["value"] == [] and not shown["visible"]


def test_the_variation_that_is_pressed_is_the_last_step_s_result():
    files = [as_png(Image.new("RGB", (8, 8), colour), colour, f"make it {colour}") for colour in ("red", "green", "blue")]
    before, *variants = (Step("photo", "small photo", file, file, "x") for file in files)
    pressed = gr.SelectData(None, {"index": 1, "value": None})
    compared, chain, shown, infotext, result, _ = next(choose([before, variants[0]], variants, pressed))
    assert (compared, chain, result) == (("small photo", files[2]), [before, variants[1]], files[2])
    assert shown == [(files[0], "x"), (files[2], "x")] and infotext == "make it blue"
    for chain, index in (([], 0), ([before], 2), ([before], [0, 1])):
        with pytest.raises(EditError, match="no such variation"):
            next(choose(chain, variants, gr.SelectData(None, {"index": index, "value": None})))


def test_many_pictures_have_every_variation(client, tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    fields = with_variations("make it winter\nmake it night")
    said, packed, _ = client.predict([handle_file(tmp_path / "red.png")], *fields, api_name="/edit_all")
    assert "1 edited" in said and ZipFile(packed).namelist() == ["red-1.png", "red-2.png"]


def test_what_is_older_than_a_day_is_cleared_and_the_examples_stay(model, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "another").mkdir()
    (tmp_path / "another" / "program.png").write_bytes(b"not ours")
    folder = use_own_folder()
    assert folder.parent == tmp_path and use_own_folder() == folder
    started = time.time()
    page = Page(model)
    examples = {*map(Path, page.examples_kept())}
    assert len([path for path in examples if path.is_file() and path.is_relative_to(folder)]) == 3
    _, address, _ = page.blocks.launch(prevent_thread_lock=True, quiet=True)
    try:
        photo = tmp_path / "photo.png"
        Image.new("RGB", (64, 64)).save(photo)
        Client(address, verbose=False).predict(handle_file(photo), *EDIT, api_name="/edit")
    finally:
        page.blocks.close()

    def files() -> set[Path]:
        return {path for path in folder.rglob("*") if path.is_file()}

    made = files()
    assert made > examples and any(path.name == "photo.png" for path in made)
    clear_old(folder, page.examples_kept(), started + DAY - 60)
    assert files() == made
    clear_old(folder, page.examples_kept(), time.time() + DAY + 60)
    assert files() == examples
    assert all(any(path.iterdir()) for path in folder.rglob("*") if path.is_dir())
    assert (tmp_path / "another" / "program.png").is_file() and photo.is_file()


def test_a_page_clears_its_folder_by_itself(model, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr("ip2p.app.clearing.DAY", -60)
    old = use_own_folder() / "of yesterday" / "photo.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"a photograph")
    build(model)
    for _ in range(600):
        if not old.parent.exists():
            break
        time.sleep(0.1)
    assert not old.parent.exists() and (use_own_folder()).is_dir()


@pytest.mark.parametrize(
    "options, kept",
    [
        ([], "~/.instruct-edit"),
        (["--host", "127.0.0.1"], "~/.instruct-edit"),
        (["--host", "0.0.0.0"], None),
        (["--share"], None),
        (["--share", "--presets", "presets"], "presets"),
    ],
)
def test_visitors_from_elsewhere_share_no_ready_instructions_unless_it_is_said(monkeypatch, options, kept):
    from ip2p import app
    from ip2p.__main__ import main

    given = []

    class Page:
        def launch(self, **options):
            pass

    monkeypatch.setattr(app, "build", lambda model, own: given.append(own) or Page())
    assert main(["app", *options]) == 0
    assert given == [kept and Path(kept).expanduser()]
