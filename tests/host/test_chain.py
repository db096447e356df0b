"""A chain of instructions through the API: result k of a line starts from result k of the line before."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from test_runs import calls
from webui import drawn_picture

CHAIN = "make it winter\nadd a hat\nmake it night"


def first_lines(result) -> list[str]:
    return [text.splitlines()[0] for text in result.infotexts]


@pytest.mark.parametrize("fields", (dict(count=2, batch_size=2), dict(count=3), dict(batch_size=2, sampler_name="DDIM")), ids=str)
def test_result_k_of_a_line_starts_from_result_k_of_the_line_before(host, fields):
    result = host.edit(instruction=CHAIN, **fields)
    results = fields.get("count", 1) * fields.get("batch_size", 1)
    assert first_lines(result) == [line for line in CHAIN.splitlines() for _ in range(results)]
    assert result.seeds == [7 + k for k in range(results)] * 3
    single = {"sampler_name": fields.get("sampler_name", "Euler")}
    for k in range(results):
        picture = host.defaults["image"]
        for line, instruction in enumerate(CHAIN.splitlines()):
            made = result.images[line * results + k]
            alone = host.edit(instruction=instruction, image=picture, seed=7 + k, **single).pixels[0]
            # A batch of other rows rounds otherwise.
            assert abs(np.asarray(made, dtype=int) - alone).max() <= 1
            picture = made
    other = host.edit(instruction="add a hat", image=result.images[0], seed=8, **single).pixels[0]
    assert abs(np.asarray(result.images[results + 1], dtype=int) - other).max() > 1, "the pictures differ enough to tell"


def test_images_infotexts_seeds_and_heat_maps_are_of_one_length(host):
    result = host.edit(instruction=CHAIN, count=2, heat_map=True)
    assert [len(it) for it in (result.images, result.infotexts, result.seeds, result.heat_maps)] == [6, 6, 6, 6]
    assert len({heat_map.tobytes() for heat_map in result.heat_maps}) == 5, "both results of the first line are made of one picture"
    result = host.edit(instruction=CHAIN, heat_map=True)
    assert [len(it) for it in (result.images, result.infotexts, result.seeds, result.heat_maps)] == [3, 3, 3, 3]


def test_drawn_seeds_and_scales_hold_for_every_line(host):
    result = host.edit(instruction=CHAIN, seed=-1, count=2, randomise_scales=True)
    assert result.seeds == result.seeds[:2] * 3
    scales = [[part for part in text.split(", ") if part.startswith(("CFG scale", "Image CFG"))] for text in result.infotexts]
    assert scales == scales[:2] * 3 and scales[0] != scales[1]
    for text, seed in zip(result.infotexts, result.seeds):
        assert f"Seed: {seed}," in text


@pytest.mark.parametrize("kind", ("working", "own-size", "full"))
def test_a_mask_holds_for_every_line_and_no_line_changes_the_size(host, kind):
    picture = drawn_picture(150, 90)
    levels = np.zeros((90, 150), np.uint8)
    levels[:, 90:] = 255
    mask = Image.fromarray(levels)
    result = host.edit(instruction=CHAIN, image=picture, mask=mask, result=kind, width=None, height=None, longest_side=128, count=2)
    assert len(result.images) == 6 and {image.size for image in result.images} == {(128, 64) if kind == "working" else (150, 90)}
    kept = [np.asarray(image)[:, :64] for image in result.images]
    assert all((pixels == kept[0]).all() for pixels in kept)
    if kind != "working":
        assert (kept[0] == np.asarray(picture)[:, :64]).all()
    edited = [np.asarray(image)[:, -20:] for image in result.images]
    assert (edited[0] != edited[2]).any() and (edited[2] != edited[4]).any()


def test_an_interrupted_line_is_the_last_and_everything_stays_of_one_length(host):
    host.probe("switch", seconds=0.2)
    with ThreadPoolExecutor() as threads:
        job = threads.submit(host.edit, instruction=CHAIN, count=2, steps=12, heat_map=True)
        calls(host, 24 + 3)
        assert host.post("/sdapi/v1/interrupt").ok
        result = job.result()
    assert first_lines(result) == ["make it winter", "make it winter", "add a hat"]
    assert [len(it) for it in (result.images, result.seeds, result.heat_maps)] == [3, 3, 3]
    assert result.seeds == [7, 8, 7]


def test_each_picture_of_a_chain_is_encoded_once(host):
    host.edit(instruction=CHAIN, count=2, batch_size=2)
    assert host.probe("records")["encodes"] == [1] * (1 + 4 + 4)


def test_a_line_of_a_chain_runs_its_pictures_in_batches(host):
    host.edit(instruction="make it winter\nadd a hat", batch_size=2)
    assert host.probe("records")["unet"] == [6] * 8
