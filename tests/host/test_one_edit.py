"""One edit: its start, its picture, its sizes, its mask, its seed, and what the host's own edit path gets wrong."""

import numpy as np
import pytest
from PIL import Image

from webui import CHECKPOINTS, drawn_picture, to_array


def test_the_paper_s_scales_are_the_defaults_and_stand_in_the_infotext(host):
    result = host.edit(steps=None, sampler_name=None)
    assert "CFG scale: 7.5" in result.infotexts[0]
    assert "Image CFG scale: 1.5" in result.infotexts[0]
    assert "Steps: 20, Sampler: Euler a" in result.infotexts[0]
    assert result.images[0].info["parameters"] == result.infotexts[0]
    assert set(host.rows()) == {3}


def test_both_scales_act(host):
    pictures = [host.edit(**scales).pixels for scales in ({}, dict(text_scale=3), dict(image_scale=1.1))]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])


def test_the_picture_and_the_instruction_act(host, photo):
    plain = host.edit().pixels
    assert (host.edit(image=drawn_picture(64, 64)).pixels != plain).any()
    assert (host.edit(instruction="a red hat").pixels != plain).any()


@pytest.mark.parametrize("sampler", ("DDIM", "DDIM CFG++", "PLMS", "UniPC", "Euler", "LCM"))
def test_an_edit_starts_from_pure_noise(host, deviation, sampler):
    assert deviation(sampler_name=sampler, steps=6) <= 1e-4
    from_noise = to_array(host.probe("latents"))
    host.edit(sampler_name=sampler, steps=6, denoising_strength=0.99)
    from_picture = to_array(host.probe("latents"))
    if sampler in ("DDIM", "DDIM CFG++", "PLMS", "UniPC"):  # the host's own start mixes the picture in
        assert abs(from_noise - from_picture).max() > 0.05 * abs(from_noise).max()


def test_pure_noise_knows_nothing_of_the_picture(host):
    # Without guidance by the picture its own latent would be the only way in.
    fields = dict(image_scale=0, text_scale=0, sampler_name="DDIM")
    one, other = host.edit(**fields).pixels, host.edit(image=drawn_picture(64, 64), **fields).pixels
    assert (one == other).all()


@pytest.mark.parametrize("sampler", ("Euler", "Euler a", "DDIM", "UniPC"))
def test_an_edit_may_start_from_the_picture(host, deviation, sampler):
    fields = dict(sampler_name=sampler, steps=8, denoising_strength=0.5)
    assert deviation(**fields) <= 1e-4
    result = host.edit(**fields)
    assert "Denoising strength: 0.5" in result.infotexts[0]
    assert (result.pixels != host.edit(sampler_name=sampler, steps=8).pixels).any()


def test_a_checkpoint_that_does_not_edit_is_a_sentence(host):
    with host.options(sd_model_checkpoint="plain"):
        assert "is not an edit model" in host.refusal()
        assert host.get("/instruct-edit/v1/status").json()["is_edit_model"] is False
    assert host.get("/instruct-edit/v1/status").json()["is_edit_model"] is True
    host.edit()


def test_the_status_lists_the_edit_checkpoints_and_no_other(host):
    titles = host.get("/instruct-edit/v1/status").json()["edit_checkpoints"]
    found = {title.split(".")[0] for title in titles}  # other tests put theirs beside them
    assert found >= CHECKPOINTS.keys() - {"plain"} and "plain" not in found


@pytest.mark.parametrize("size", ((72, 64), (64, 88), (104, 72)))
@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_sizes_need_not_be_multiples_of_64(host, photo, size, sampler):
    width, height = size
    result = host.edit(image=photo, width=width, height=height, sampler_name=sampler)
    assert result.images[0].size == size


def test_a_size_left_out_is_fitted_to_the_picture_in_multiples_of_64(host, photo):
    result = host.edit(image=photo.resize((300, 200)), width=None, height=None, longest_side=192, steps=1)
    assert result.images[0].size == (192, 128)


def test_the_result_may_be_given_back_at_the_picture_s_own_size(host, photo):
    result = host.edit(image=photo.resize((150, 90)), width=None, height=None, longest_side=128, own_size=True, steps=1)
    assert result.images[0].size == (150, 90)


@pytest.mark.parametrize(
    "fields", (dict(count=3, batch_size=3), dict(count=1, batch_size=1), dict(denoising_strength=0.5, count=2), dict(mask=True)), ids=str
)
def test_the_picture_is_encoded_once_a_job(host, fields):
    if fields.get("mask"):
        fields = dict(mask=Image.new("L", (64, 64), 255))
    result = host.edit(**fields)
    assert len(result.images) == fields.get("count", 1) * fields.get("batch_size", 1)
    assert host.probe("records")["encodes"] == [1]


def half_mask(size) -> Image.Image:
    """White, that is edited, on the right."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2 + 3, 0, *size))
    return mask


@pytest.mark.parametrize("sampler", ("Euler", "DDIM", "LCM"))
@pytest.mark.parametrize("strength", (1.0, 0.6))
def test_a_mask_keeps_every_other_pixel_exactly(host, sampler, strength):
    picture = host.defaults["image"]
    mask = half_mask(picture.size)
    result = host.edit(mask=mask, sampler_name=sampler, denoising_strength=strength, batch_size=2)
    black = np.asarray(mask) == 0
    for pixels in result.pixels:
        assert (pixels[black] == np.asarray(picture)[black]).all()
        assert (pixels[~black] != np.asarray(picture)[~black]).any(axis=-1).mean() > 0.5


@pytest.mark.parametrize("size", ((96, 64), (150, 90)))
def test_a_mask_keeps_every_other_pixel_at_the_picture_s_own_size(host, photo, size):
    picture = photo.resize(size)
    mask = half_mask(size)
    result = host.edit(image=picture, mask=mask, own_size=True, width=None, height=None, longest_side=128)
    black = np.asarray(mask) == 0
    assert result.images[0].size == size
    assert (result.pixels[0][black] == np.asarray(picture)[black]).all()
    assert (result.pixels[0][~black] != np.asarray(picture)[~black]).any(axis=-1).mean() > 0.5


def test_a_black_mask_gives_the_picture_back(host):
    result = host.edit(mask=Image.new("L", (64, 64), 0))
    assert (result.pixels[0] == np.asarray(host.defaults["image"])).all()


def test_a_mask_of_another_size_is_a_sentence(host):
    assert "32x64 but the picture is 64x64" in host.refusal(mask=Image.new("L", (32, 64), 255))


@pytest.mark.parametrize("sampler", ("Euler", "Euler a", "DPM++ 2M SDE", "DPM++ SDE", "DDIM", "LCM", "Restart"))
def test_the_same_seed_gives_the_same_picture_alone_and_in_a_batch(host, sampler):
    fields = dict(sampler_name=sampler, steps=4, seed=40)
    assert (host.edit(**fields).pixels == host.edit(**fields).pixels).all()
    result = host.edit(count=2, batch_size=2, **fields)
    assert result.seeds == [40, 41, 42, 43]
    for seed, picture in zip(result.seeds, result.pixels):
        # A batch of other rows rounds otherwise: at most one level, as in the host's own batches.
        assert abs(host.edit(**{**fields, "seed": seed}).pixels[0] - picture).max() <= 1


def test_a_drawn_seed_is_reported_and_gives_the_picture_again(host):
    drawn = host.edit(seed=-1)
    assert f"Seed: {drawn.seeds[0]}" in drawn.infotexts[0]
    assert (host.edit(seed=drawn.seeds[0]).pixels == drawn.pixels).all()
    assert host.edit(seed=-1).seeds != drawn.seeds


def test_drawn_scales_belong_to_the_seed_and_are_in_the_infotext(host):
    result = host.edit(randomise_scales=True, count=1, batch_size=2)
    scales = [
        dict(part.split(": ") for part in text.split(", ") if part.startswith(("CFG scale", "Image CFG scale")))
        for text in result.infotexts
    ]
    assert scales[0] != scales[1]
    for seed, picture, drawn in zip(result.seeds, result.pixels, scales):
        text, image = float(drawn["CFG scale"]), float(drawn["Image CFG scale"])
        assert 6 <= text <= 9 and 1.2 <= image <= 1.8
        again = host.edit(seed=seed, text_scale=text, image_scale=image).pixels[0]
        assert abs(again - picture).max() <= 1


def test_every_result_has_its_heat_map_in_a_field_of_its_own(host):
    result = host.edit(heat_map=True, count=2, batch_size=2)
    assert len(result.images) == len(result.seeds) == len(result.infotexts) == len(result.heat_maps) == 4
    assert result.heat_maps[0].size == (64, 64)
    without_guidance = host.edit(heat_map=True, text_scale=1.0, image_scale=1.0).heat_maps
    assert len({heat_map.tobytes() for heat_map in result.heat_maps + without_guidance}) == 1, "it is the instruction's, not the result's"
    assert host.edit(heat_map=True, instruction="add a hat").heat_maps[0].tobytes() != result.heat_maps[0].tobytes()
    assert host.edit().heat_maps == []


def test_the_heat_map_of_a_single_result_is_also_where_it_was_before(host):
    result = host.edit(heat_map=True)
    assert len(result.images) == len(result.infotexts) == 2 and len(result.seeds) == 1
    assert result.images[1].tobytes() == result.heat_maps[0].tobytes()
    assert "where the instruction acts" in result.infotexts[1]
