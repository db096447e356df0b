"""A student of the three passes in a real WebUI: any scales in one row a step, the editor's picture, and at its own scales the picture of a WebUI without
this extension."""

import io
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="the student's parity with the editor needs diffusers and transformers (pip install -e '.[edit]')")

from browser import expect, wait_for
from ip2p.edit import Edit
from ip2p.editor import Editor
from students import student_file
from webui import WebUI, checkpoints, drawn_picture, find_webui, to_array, to_base64

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2
BAKED = dict(text_scale=2.5, image_scale=1.5)
OWN = dict(BAKED, steps=4, sampler_name="Euler")
LORA = "<lora:testlora:1>"


@pytest.fixture(scope="module")
def file(running_webui):
    """A student of the test model, in the WebUI's own folder of checkpoints."""
    folder = running_webui.folder / "models" / "Stable-diffusion"
    folder.mkdir(parents=True, exist_ok=True)
    yield student_file(folder / "student.safetensors", checkpoints(find_webui()) / "edit.safetensors")
    for suffix in (".safetensors", ".yaml"):
        (folder / f"student{suffix}").unlink()
    assert running_webui.post("/sdapi/v1/refresh-checkpoints").ok


@pytest.fixture(scope="module")
def loaded(running_webui, file):
    """The WebUI with the student loaded."""
    assert running_webui.post("/sdapi/v1/refresh-checkpoints").ok
    with running_webui.options(sd_model_checkpoint="student.safetensors"):
        yield running_webui
    running_webui.edit()  # the next test finds the first checkpoint again


@pytest.fixture
def student(loaded):
    loaded.probe("clear")
    return loaded


@pytest.fixture(scope="module")
def stock(tmp_path_factory, running_webui, file):
    """A WebUI without this extension, with the tests' probe alone, and the same student and LoRA."""
    folder = tmp_path_factory.mktemp("stock") / "data"
    for place in ("extensions/probe", "models/Lora"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        source = running_webui.folder / place
        (folder / place).symlink_to(source.resolve(), target_is_directory=True)
    host = WebUI(find_webui(), folder, "--ckpt", file, prepared=True)
    try:
        yield host.wait()
    finally:
        host.stop()


@pytest.fixture(scope="module")
def editor(file):
    return Editor.load(file, device="cpu")


def apart(one, other) -> int:
    """The largest difference of any pixel, in levels of 255."""
    return int(abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16)).max())


def img2img(host, **fields) -> Image.Image:
    """By the host's own img2img."""
    settings = dict(prompt="make it winter", seed=7, steps=4, sampler_name="Euler", width=64, height=64, denoising_strength=0.9)
    answer = host.post("/sdapi/v1/img2img", settings | fields)
    assert answer.ok, answer.text[:2000]
    return Image.open(io.BytesIO(b64decode(answer.json()["images"][0])))


@pytest.mark.parametrize(
    "picture, more",
    ((None, {}), (None, {"lora": LORA}), (drawn_picture(160, 100), {"width": 128, "height": 80})),
    ids=("same", "LoRA", "resized"),
)
def test_a_webui_without_the_extension_gives_the_tab_s_picture_at_its_own_scales(stock, student, picture, more):
    more = dict(more)
    picture, words = picture or student.defaults["image"], f"make it winter {more.pop('lora', '')}".strip()
    theirs = img2img(stock, init_images=[to_base64(picture)], prompt=words, cfg_scale=1, image_cfg_scale=1, resize_mode=1, **more)
    (ours,) = student.edit(image=picture, instruction=words, denoising_strength=0.9, **BAKED, **more).images
    assert apart(ours, theirs) <= 2 and np.asarray(ours).std() > 5
    assert student.rows() == [1] * 4


@pytest.mark.parametrize(
    "fields",
    (
        BAKED, dict(text_scale=1.0, image_scale=1.0), dict(text_scale=4.0, image_scale=1.2), dict(text_scale=3.0, image_scale=2.2, count=2),
        dict(BAKED, randomise_scales=True, batch_size=2), dict(text_scale=4.0, image_scale=1.5, text_end=0.5),
        dict(text_scale=4.0, image_scale=1.5, denoising_strength=0.9), dict(text_scale=None, image_scale=None, steps=None, sampler_name=None),
    ),
    ids=str,
)  # fmt: skip
def test_any_scales_give_the_editor_s_picture_in_one_row_a_picture(student, editor, fields):
    theirs = student.edit(**fields)
    fields = {name: value for name, value in (student.defaults | fields).items() if value is not None}
    ours = editor.edit(Edit(**(OWN | fields), scale_ranges=((2.0, 3.0), (1.2, 1.8))))
    assert [apart(result.image, image) <= 2 for result, image in zip(ours, theirs.images)] == [True] * len(theirs.images)
    assert set(student.rows()) == {fields.get("batch_size", 1)}


def test_what_nobody_asked_for_is_the_student_s(student):
    taken = student.edit(text_scale=None, image_scale=None, steps=None, sampler_name=None).info["taken"]
    assert taken == {"longest_side": 64, **OWN, "scheduler": "Automatic"}


def test_every_scale_is_another_picture_and_nothing_stays_behind(student):
    usual = student.edit(**BAKED).images[0]
    for scales in (dict(text_scale=4.0), dict(image_scale=2.2)):
        assert apart(usual, student.edit(**(BAKED | scales)).images[0]) > 3
    student.probe("clear")
    student.probe("switch", fail_at=2)
    assert student.ask(**(BAKED | {"text_scale": 4.0})).status_code == 500
    student.probe("clear")
    assert apart(usual, student.edit(**BAKED).images[0]) == 0


def test_sub_prompts_act_by_their_weights(student):
    def latents(instruction, text_scale):
        student.edit(instruction=instruction, text_scale=text_scale, image_scale=1.5)
        return to_array(student.probe("latents"))

    def deviation(one, other):
        return float(abs(one - other).max() / abs(other).max())

    winter, hat = latents("make it winter", 3.0), latents("add a hat", 3.0)
    assert deviation(latents("make it winter AND make it winter", 1.5), winter) < 1e-4
    assert deviation(latents("make it winter :0.5", 6.0), winter) < 1e-4
    student.probe("clear")
    both = latents("make it winter AND add a hat", 1.5)
    assert min(deviation(both, one) for one in (winter, hat)) > 1e-3
    assert student.rows() == [2] * 4
    assert "add up to nothing" in student.refusal(instruction="winter :0.5 AND summer :-0.5")


@pytest.mark.parametrize(
    "fields, what",
    (
        (dict(negative_prompt="blurry"), "A negative prompt"), (dict(styles=["watercolour"]), "A negative prompt"),
        (dict(heat_map=True), "To show where"), (dict(region={"from": "instruction"}), "To show where"),
        (dict(image_start=0.2), "An interval of the image guidance"), (dict(sampler_name="DDIM CFG++"), "A sampler of the kind CFG++"),
    ),
    ids=str,
)  # fmt: skip
def test_what_needs_three_passes_is_a_sentence(student, fields, what):
    sentence = student.refusal(**fields)
    assert (
        sentence.startswith(what)
        and "needs three passes, and “student” edits in one" in sentence
        and "published checkpoint can" in sentence
    )
    assert not student.probe("records")["unet"]


def test_img2img_edits_with_it_at_any_scales(student):
    start = dict(init_images=[to_base64(student.defaults["image"])])
    theirs = img2img(student, **start, cfg_scale=4, image_cfg_scale=1.5)
    assert student.rows() == [1] * 4
    assert apart(theirs, student.edit(text_scale=4, image_scale=1.5, denoising_strength=0.9).images[0]) <= 2
    refused = student.post("/sdapi/v1/img2img", dict(start, prompt="x", negative_prompt="blurry"))
    assert refused.status_code == 422 and "A negative prompt needs three passes" in refused.text


def test_a_refiner_is_told_what_it_takes(student):
    student.probe("switch", job={"refiner_checkpoint": "other-edit.safetensors", "refiner_switch_at": 0.5})
    student.edit(**BAKED)
    assert student.rows() == [1, 1, 3, 3]


def test_the_tab_takes_its_settings_and_greys_what_it_can_t_do(student, tab):
    tab.open_anew()
    expect(tab["notice"]).to_contain_text("“student” makes an edit in one pass a step")
    wait_for(tab, {"text_scale": "2.5", "image_scale": "1.5", "steps": "4", "longest_side": "64"})
    expect(tab["neg_prompt"].locator("textarea")).to_be_disabled()
    expect(tab["heat_map"].locator("input")).to_be_disabled()
    expect(tab["prompt"].locator("textarea")).to_be_enabled()
