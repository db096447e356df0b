"""The services of the host's own denoiser, and what is put into a sampler for a run."""

import pytest

SAMPLERS = ("Euler", "Heun", "DDIM")


@pytest.mark.parametrize("together", (True, False))
@pytest.mark.parametrize("image_scale", (1.5, 1.0))
@pytest.mark.parametrize("sampler", (*SAMPLERS, "DDIM CFG++"))
def test_skip_early_cfg_runs_the_full_pass_alone_and_equals_the_reference(host, deviation, sampler, image_scale, together):
    fields = dict(sampler_name=sampler, image_scale=image_scale, negative_prompt="blurry", batch_size=2)
    with host.options(skip_early_cond=0.3, batch_cond_uncond=together):
        result = host.edit(**fields)
        rows = host.rows()
        assert deviation(**fields) <= 1e-4
    passes = 3 if sampler == "DDIM CFG++" else 3 if image_scale == 1.5 else 2
    early = 2 if sampler == "DDIM CFG++" else 1  # CFG++ renoises with uncond in every call
    assert rows[:2] == [2 * early] * 2
    assert rows[-1] == 2 * passes
    assert "Skip Early CFG: 0.3" in result.infotexts[0]


@pytest.mark.parametrize("together", (True, False))
@pytest.mark.parametrize("image_scale", (1.5, 1.0))
@pytest.mark.parametrize("every_step", (False, True))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ngms_runs_the_full_pass_alone_and_equals_the_reference(host, deviation, sampler, every_step, image_scale, together):
    low_noise = 4.0 if sampler != "DDIM" else 600.0  # DDIM counts in timesteps, in the host too
    fields = dict(sampler_name=sampler, image_scale=image_scale, steps=6)
    with host.options(s_min_uncond=low_noise, s_min_uncond_all=every_step, batch_cond_uncond=together):
        result = host.edit(**fields)
        rows, noise = host.rows(), host.probe("records")["noise"]
        assert deviation(**fields) <= 1e-4
    passes = 3 if image_scale == 1.5 else 2
    assert rows == [1 if level < low_noise and (step % 2 or every_step) else passes for step, level in enumerate(noise)]
    assert 1 in rows
    assert f"NGMS: {low_noise}" in result.infotexts[0]


@pytest.mark.parametrize("options", (dict(skip_early_cond=0.3), dict(s_min_uncond=4.0, s_min_uncond_all=True)), ids=str)
def test_sub_prompts_keep_their_weights_where_guidance_is_off(host, deviation, options):
    with host.options(**options):
        assert deviation(instruction="make it winter :0.7 AND a red hat :0.6", negative_prompt="blurry") <= 1e-4


@pytest.mark.parametrize("refiner", ("other-edit", "v-edit", "plain"))
@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_a_refiner_takes_over_within_the_run_and_hands_back(host, refiner, sampler):
    alone = host.edit(sampler_name=sampler)
    host.probe("clear")
    host.probe("switch", job=dict(refiner_checkpoint=refiner, refiner_switch_at=0.5))
    refined = host.edit(sampler_name=sampler, count=2)
    # A network without a place for the picture makes `image` and `uncond` one pass.
    assert host.rows()[-1] == (2 if refiner == "plain" else 3)
    assert f"Refiner: {refiner}" in refined.infotexts[0]
    assert (refined.pixels[0] != alone.pixels[0]).any()
    host.probe("switch", job={})
    assert (host.edit(sampler_name=sampler).pixels == alone.pixels).all()


# Callbacks of other extensions


@pytest.mark.parametrize("scales", ({}, dict(image_scale=1), dict(text_scale=1, image_scale=1), dict(text_scale=0, image_scale=0)), ids=str)
@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_callbacks_see_every_row_whichever_passes_run(host, sampler, scales):
    host.edit(sampler_name=sampler, instruction="make it winter AND a red hat", batch_size=2, **scales)
    rows = 2 * 2 + 2 + 2
    for scene in host.probe("records")["scenes"]:
        assert scene["x"] == scene["image_cond"] == scene["denoised"] == [rows, 4, 8, 8]
        assert scene["sigma"] == [rows]
        assert [scene["text_cond"][0], scene["text_uncond"][0]] == [4, 2]


def test_what_a_callback_does_to_the_text_acts_and_decides_which_passes_are_equal(host):
    plain = host.edit().pixels
    host.probe("switch", text_factor=0.5)
    assert (host.edit().pixels != plain).any()
    host.probe("clear")
    host.probe("switch", text_factor=0.0, negative_factor=0.0)
    host.edit()
    assert host.rows() == [2] * 4, "a text that equals the negative one is one pass with it"


@pytest.mark.parametrize(
    "fields, idle, acting",
    (
        (dict(image_scale=1), 2, 0),  # rows are full, image, uncond
        (dict(text_scale=1.5), 1, 2),
        (dict(text_scale=0), 0, 1),
        (dict(negative_prompt="make it winter"), 0, 1),  # full is merged into image
    ),
    ids=str,
)
def test_what_a_callback_does_to_a_row_that_did_not_run_does_nothing(host, fields, idle, acting):
    plain = host.edit(**fields).pixels
    host.probe("switch", output_factor={idle: 0.5})
    assert (host.edit(**fields).pixels == plain).all()
    host.probe("switch", output_factor={acting: 0.5})
    assert (host.edit(**fields).pixels != plain).any()


def test_a_callback_after_the_guidance_acts(host):
    plain = host.edit().pixels
    host.probe("switch", after_factor=0.9)
    assert (host.edit().pixels != plain).any()


# Memory


@pytest.mark.parametrize(
    "memory, fields, unet",
    (
        (dict(oom_times=1), {}, [3, 1, 1, 1] + [1, 1, 1] * 3),
        (dict(oom_times=1), dict(batch_size=2), [6, 2, 2, 2] + [2, 2, 2] * 3),
        (dict(oom_above=1), dict(batch_size=2), [6, 2] + [1] * 24),
        (dict(oom_above=2), dict(batch_size=2, instruction="make it winter AND a red hat"), [8] + [2] * 16),
    ),
    ids=("once", "once in a batch", "room for one row", "room for two rows"),
)
def test_out_of_memory_falls_back_within_the_run_to_the_same_picture_and_says_so_once(host, memory, fields, unet):
    whole = host.edit(**fields)
    assert not whole.info["comments"]
    host.probe("clear")
    host.probe("switch", **memory)
    result = host.edit(**fields)
    assert host.probe("records")["unet"] == unet
    assert abs(result.pixels - whole.pixels).max() <= 1
    assert str(result.info["comments"]).count("memory") == 1


def test_memory_that_does_not_even_do_for_one_row_is_a_sentence_and_the_host_goes_on(host):
    before = host.edit().pixels
    host.probe("switch", oom_above=0)
    assert "not enough GPU memory" in host.refusal()
    host.probe("clear")
    assert (host.edit().pixels == before).all()
    assert host.get("/instruct-edit/v1/status").json()["busy"] is False


# What is put into a sampler for a run is taken out afterwards


STOCK = {"Euler": "CFGDenoiserKDiffusion", "DDIM": "CFGDenoiserTimesteps", "LCM": "CFGDenoiserLCM"}


@pytest.mark.parametrize("sampler", STOCK)
def test_the_denoiser_is_the_host_s_own_again_and_keeps_other_extensions_patches(host, sampler):
    host.edit(sampler_name=sampler)
    clean = host.probe("denoiser")
    assert clean["class"] == STOCK[sampler]
    assert "ip2p" not in clean["attributes"]
    host.probe("clear")
    host.probe("switch", patch=["network", "combine"])
    host.edit(sampler_name=sampler)
    patched = host.probe("denoiser")
    assert patched["class"] == STOCK[sampler]
    assert patched["patched_calls"] == patched["unet_calls"] > 0
    assert set(patched["attributes"]) == {*clean["attributes"], "combine_denoised"}


@pytest.mark.parametrize("sampler", STOCK)
def test_after_an_exception_the_denoiser_is_the_host_s_own_and_the_next_run_is_whole(host, sampler):
    before = host.edit(sampler_name=sampler).pixels
    host.probe("clear")
    host.probe("switch", fail_at=2)
    assert host.ask(sampler_name=sampler).status_code == 500
    left = host.probe("denoiser")
    assert left["class"] == STOCK[sampler]
    assert "ip2p" not in left["attributes"]
    assert host.get("/instruct-edit/v1/status").json()["busy"] is False
    host.probe("clear")
    assert (host.edit(sampler_name=sampler).pixels == before).all()


def test_an_extension_that_takes_the_denoiser_over_is_named_as_the_reason(host):
    host.probe("switch", patch=["forward"])
    assert "Another extension has replaced the denoiser" in host.refusal()
