"""A pass with zero weight is never run: rows per call of the denoiser, counted at the UNet."""

import pytest

# What is asked for, and the passes that design and formula leave of it.
TABLE = {
    "7.5 / 1.5": (dict(text_scale=7.5, image_scale=1.5), 3),
    "s_I = 1": (dict(text_scale=7.5, image_scale=1), 2),
    "s_T = s_I": (dict(text_scale=1.5, image_scale=1.5), 2),
    "s_T = 0": (dict(text_scale=0, image_scale=1.5), 2),
    "s_T = s_I = 1": (dict(text_scale=1, image_scale=1), 1),
    "s_T = 0, s_I = 1": (dict(text_scale=0, image_scale=1), 1),
    "s_T = s_I = 0": (dict(text_scale=0, image_scale=0), 1),
    "text is negative": (dict(negative_prompt="make it winter"), 2),
    "text is negative, s_I = 1": (dict(negative_prompt="make it winter", image_scale=1), 1),
    "text is negative, s_I = 0": (dict(negative_prompt="make it winter", image_scale=0), 1),
}
CALLS = {"Euler": (4, 4), "Heun": (6, 11), "DDIM": (20, 19)}  # steps, and the calls a sampler makes of them


@pytest.mark.parametrize("sampler", CALLS)
@pytest.mark.parametrize("case", TABLE)
def test_every_call_runs_the_passes_that_have_weight_and_no_other(host, case, sampler):
    fields, passes = TABLE[case]
    steps, calls = CALLS[sampler]
    host.edit(sampler_name=sampler, steps=steps, **fields)
    assert host.rows() == [passes] * calls
    assert host.probe("records")["unet"] == [passes] * calls


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
@pytest.mark.parametrize("case", TABLE)
def test_what_is_left_equals_the_reference_that_runs_all_three(deviation, case, sampler):
    assert deviation(sampler_name=sampler, **{"negative_prompt": "blurry", **TABLE[case][0]}) <= 1e-4


@pytest.mark.parametrize("case", TABLE)
def test_passes_one_after_another_are_the_same_passes(host, case):
    fields, passes = TABLE[case]
    together = host.edit(batch_size=2, **fields).pixels
    host.probe("clear")
    with host.options(batch_cond_uncond=False):
        apart = host.edit(batch_size=2, **fields).pixels
    assert host.rows() == [2 * passes] * 4
    assert set(host.probe("records")["unet"]) == {2}, "a call holds one pass of the batch"
    assert abs(apart - together).max() <= 1


@pytest.mark.parametrize("sampler", CALLS)
def test_every_picture_of_a_batch_runs_its_own_passes(host, sampler):
    steps, calls = CALLS[sampler]
    prompts = dict(prompt=["make it winter", "make it night", "a red hat"], negative_prompt=["", "make it night", "blurry"])
    host.probe("switch", job=prompts)
    mixed = host.edit(sampler_name=sampler, steps=steps, batch_size=3).pixels
    assert host.rows() == [3 + 2 + 3] * calls
    host.probe("switch", job={})
    for k, (instruction, negative) in enumerate(zip(*prompts.values())):
        alone = host.edit(sampler_name=sampler, steps=steps, seed=7 + k, instruction=instruction, negative_prompt=negative).pixels
        assert abs(alone[0] - mixed[k]).max() <= 1


def test_a_schedule_drops_passes_call_by_call(host):
    # DDIM's noise levels are timesteps: the share left behind is 1 − t/999.
    host.edit(sampler_name="DDIM", steps=20, image_end=0.75, text_start=0.25, text_end=0.5)
    expected = []
    for timestep in host.probe("records")["noise"]:
        done = 1 - timestep / 999
        text, image = 0.25 <= done <= 0.5, done <= 0.75
        expected.append(3 if image else 2 if text else 1)
    assert host.rows() == expected
    assert set(expected) == {3, 1}


@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DPM++ 2M", "DDIM", "UniPC", "LCM"))
@pytest.mark.parametrize(
    "interval",
    (
        dict(text_start=0.3),
        dict(text_end=0.3),
        dict(image_start=0.3),
        dict(image_end=0.3),
        dict(text_start=0.15, text_end=0.6, image_end=0.45),
    ),
    ids=str,
)
def test_a_schedule_equals_the_reference(deviation, sampler, interval):
    assert deviation(sampler_name=sampler, scheduler="Karras", steps=8, **interval) <= 1e-4


@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DPM++ 2M", "LCM"))
def test_a_schedule_goes_by_the_noise_and_not_by_the_step(host, sampler):
    host.edit(sampler_name=sampler, scheduler="Karras", steps=8, text_end=0.4, image_end=0.4)
    rows, noise = host.rows(), host.probe("records")["noise"]
    assert set(rows) == {3, 1}
    assert min(n for n, r in zip(noise, rows) if r == 3) > max(n for n, r in zip(noise, rows) if r == 1)


@pytest.mark.parametrize(
    "instruction, scales, passes",
    (
        ("make it winter AND a red hat", {}, 4),
        ("make it winter :0.5 AND a red hat :0.5", dict(text_scale=1.5), 3),  # s_T·Σw = s_I: no image
        ("make it winter :0.5 AND a red hat :0.7", dict(image_scale=1), 3),  # no uncond
        ("make it winter :0 AND a red hat", {}, 3),
        (
            "make it winter :0.1 AND a red hat :0.2 AND night :0.7",
            dict(text_scale=1, image_scale=1),
            3,
        ),  # the weights' sum is 1 but for rounding
        ("make it winter AND a red hat :-1", dict(text_scale=3, image_scale=1), 3),
    ),
)
def test_sub_prompts_drop_passes_by_the_same_rule(host, deviation, instruction, scales, passes):
    host.edit(instruction=instruction, **scales)
    assert host.rows() == [passes] * 4
    assert deviation(instruction=instruction, **scales) <= 1e-4


@pytest.mark.parametrize(
    "scales, passes",
    (
        (dict(text_scale=7.5, image_scale=1.5), 3),
        (dict(text_scale=7.5, image_scale=12.5), 3),  # the weight of uncond is zero, and it runs
        (dict(text_scale=12.5, image_scale=12.5), 2),
        (dict(text_scale=3, image_scale=3), 2),
        (dict(text_scale=0, image_scale=0), 1),
    ),
    ids=str,
)
def test_cfg_plus_plus_always_runs_uncond_and_treats_both_guidances_alike(host, deviation, scales, passes):
    host.edit(sampler_name="DDIM CFG++", **scales)
    assert set(host.rows()) == {passes}
    assert deviation(sampler_name="DDIM CFG++", **scales) <= 1e-4
