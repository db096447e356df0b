"""The always-on Script in img2img: the same denoiser, so the same reference; the rest of the job stays img2img's."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from webui import drawn_picture, to_array, to_base64

LONG = ", ".join(["snow on the roofs", "ice on the river", "a low sun"] * 8)
NAMES = dict(image="init_images", instruction="prompt", text_scale="cfg_scale", image_scale="image_cfg_scale", count="n_iter")


@pytest.fixture
def img2img(host):
    """Asks img2img for what an edit's fields say; `script` are the Script's arguments, or None for none at all."""

    def ask(script=(True, True), **fields):
        fields = {**host.defaults, "text_scale": 7.5, "denoising_strength": 1, **fields}
        request = {NAMES.get(name, name): [to_base64(value)] if name == "image" else value for name, value in fields.items()}
        if script is not None:
            request["alwayson_scripts"] = {"Instruct edit": {"args": list(script)}}
        return host.post("/sdapi/v1/img2img", request)

    return ask


def pixels(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text[:2000]
    images = [Image.open(io.BytesIO(base64.b64decode(image))) for image in answer.json()["images"]]
    return np.stack([np.asarray(image, dtype=np.int16) for image in images])


@pytest.fixture
def deviation(host, img2img):
    def measure(script=(True, True), **fields) -> float:
        assert img2img(script, **{"image_scale": 1.5, **fields}).status_code == 200
        ours, reference = to_array(host.probe("latents")), to_array(host.reference(**fields))
        return float(abs(ours - reference).max() / abs(reference).max())

    return measure


@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DPM++ 2M SDE", "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM"))
def test_img2img_from_noise_equals_the_reference(deviation, sampler):
    assert deviation(sampler_name=sampler, scheduler="Karras", batch_size=2) <= 1e-4


@pytest.mark.parametrize("sampler", ("Euler", "DPM++ 2M SDE", "DDIM", "UniPC"))
def test_img2img_from_the_picture_equals_the_reference(deviation, sampler):
    assert deviation((True, False), sampler_name=sampler, denoising_strength=0.7, steps=6) <= 1e-4


@pytest.mark.parametrize(
    "fields",
    (
        dict(instruction=LONG),
        dict(negative_prompt=LONG),
        dict(instruction="make it winter :0.7 AND a red hat :1.2"),
        dict(image_scale=1),
        dict(text_scale=1, image_scale=1),
        dict(instruction="<lora:testlora:1> make it winter"),
    ),
    ids=str,
)
def test_what_the_host_s_own_edit_path_gets_wrong_equals_the_reference(deviation, fields):
    assert deviation(**fields) <= 1e-4


@pytest.mark.parametrize("image_scale", (1.5, 1.0))
@pytest.mark.parametrize("options", (dict(skip_early_cond=0.3), dict(s_min_uncond=4.0)), ids=str)
def test_skip_early_cfg_and_ngms_equal_the_reference(host, deviation, options, image_scale):
    with host.options(**options):
        assert deviation(image_scale=image_scale) <= 1e-4


@pytest.mark.parametrize("scales, passes", (((7.5, 1.5), 3), ((7.5, 1), 2), ((1.5, 1.5), 2), ((0, 1.5), 2), ((1, 1), 1), ((0, 0), 1)))
def test_a_pass_without_weight_is_not_run(host, img2img, scales, passes):
    assert img2img(text_scale=scales[0], image_scale=scales[1]).status_code == 200
    assert host.rows() == [passes] * 4


def test_a_schedule_acts_and_equals_the_reference(host, img2img, deviation):
    script = (True, True, 0.0, 0.4, 0.0, 0.4)
    assert img2img(script, scheduler="Karras").status_code == 200
    assert set(host.rows()) == {3, 1}
    assert deviation(script, text_end=0.4, image_end=0.4, scheduler="Karras") <= 1e-4


def test_without_an_image_scale_it_is_the_paper_s_and_stands_in_the_infotext(host, img2img):
    answer = img2img()
    assert "Image CFG scale: 1.5" in answer.json()["info"]
    assert (pixels(answer) == pixels(img2img(image_scale=1.5))).all()


def test_switched_off_img2img_is_the_host_s_own(host, img2img):
    assert img2img((False, False), text_scale=1.5, image_scale=1.5).status_code == 200
    assert host.rows() == [3] * 4


def test_txt2img_with_an_edit_model_is_a_sentence(host):
    answer = host.post("/sdapi/v1/txt2img", dict(prompt="a house", steps=2, width=64, height=64))
    assert answer.status_code == 422
    assert "needs a picture" in answer.json()["detail"]


def test_few_steps_are_a_sentence(img2img):
    answer = img2img(sampler_name="DDIM", steps=1)
    assert answer.status_code == 422
    assert "needs at least 2 steps" in answer.json()["detail"]


def test_latent_upscale_edits(img2img):
    assert pixels(img2img(resize_mode=3, width=128, height=96, image_scale=1.5)).shape == (1, 96, 128, 3)


@pytest.mark.parametrize("fill", (0, 2, 3))
def test_masked_content_never_replaces_the_picture_that_is_edited(img2img, fill):
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    fields = dict(mask=to_base64(mask), mask_blur=0, inpaint_full_res=False, denoising_strength=0.8, image_scale=1.5)
    assert (pixels(img2img(inpainting_fill=fill, **fields)) == pixels(img2img(inpainting_fill=1, **fields))).all()


def test_with_a_model_that_does_not_edit_nothing_changes(host, img2img):
    with host.options(sd_model_checkpoint="plain.safetensors"):
        # The host draws this latent from its global generator, so it does not repeat itself to the last bit: half a level can round either way.
        assert abs(pixels(img2img()) - pixels(img2img((False, False)))).max() <= 1
        assert host.post("/sdapi/v1/txt2img", dict(prompt="a house", steps=2, width=64, height=64)).status_code == 200


@pytest.mark.parametrize("sampler, stock", (("Euler", "CFGDenoiserKDiffusion"), ("DDIM", "CFGDenoiserTimesteps")))
@pytest.mark.parametrize("failing", (False, True))
def test_the_denoiser_is_the_host_s_own_again(host, img2img, sampler, stock, failing):
    host.probe("switch", fail_at=2 if failing else None)
    assert img2img(sampler_name=sampler).status_code == (500 if failing else 200)
    left = host.probe("denoiser")
    assert left["class"] == stock
    assert "ip2p" not in left["attributes"]


def test_results_one_after_another_are_those_of_their_seeds(img2img):
    together = pixels(img2img(count=2, batch_size=1, image_scale=1.5))[-2:]  # a grid may come first
    assert (together[1] == pixels(img2img(seed=8, image_scale=1.5))[0]).all()


def test_another_picture_is_another_edit(img2img):
    assert (pixels(img2img(image=drawn_picture(64, 64))) != pixels(img2img())).any()
