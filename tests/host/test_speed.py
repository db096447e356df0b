"""Fast edits in the WebUI: which rows run, with every sampler, and what is done with a result that was made fast."""

import json

import numpy as np
import pytest
from PIL import Image

from browser import INFO, RESULT, Tab, expect
from test_samplers import K_DIFFUSION, TIMESTEPS
from webui import to_array

SAMPLERS = (*(sampler for sampler in (*K_DIFFUSION, *TIMESTEPS) if not sampler.endswith("CFG++")),)
FAST = dict(speed="fast", steps=6)


def cadence(noise: list[float], rows=(3, 1, 2, 1)) -> list[int]:
    """Rows of every call of these noise levels; where the level rises, it begins anew."""
    counted: list[int] = []
    begun, before = 0, float("inf")
    for call, level in enumerate(noise):
        if level > before:
            begun = call
        counted.append(rows[(call - begun) % len(rows)])
        before = level
    return counted


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_a_fast_edit_s_rows_and_equals_the_reference(host, deviation, sampler):
    # As with exact edits DPM adaptive, which chooses its steps by an error of rounding's size, is compared pass by pass.
    adaptive = sampler == "DPM adaptive"
    fast = {**FAST, "sampler_name": sampler, "steps": 20 if sampler == "Restart" else 6}  # below 20 steps Restart restarts nothing
    with host.options(batch_cond_uncond=not adaptive):
        assert deviation(**fast) <= (2e-3 if adaptive else 1e-4)
        host.probe("clear")
        host.edit(**fast)
    noise = host.probe("records")["noise"]
    assert host.rows() == cadence(noise) and len(noise) >= 5
    if sampler == "Restart":
        assert host.rows() != cadence(sorted(noise, reverse=True)), "its noise level was to rise"


def test_twenty_steps_are_thirty_five_rows(host):
    result = host.edit(steps=20, speed="fast")
    assert sum(host.rows()) == 35
    assert "Instruct edit speed: fast" in result.infotexts[0]


@pytest.mark.parametrize("speed", ({}, dict(speed="exact")), ids=str)
def test_exact_is_what_an_edit_is_if_nobody_says_otherwise(host, speed):
    result = host.edit(**speed)
    assert host.rows() == [3] * 4
    assert "speed" not in result.infotexts[0]


def test_a_speed_that_is_none_is_a_sentence(host):
    assert host.refusal(speed="furious") == "There is no speed “furious”. Known ones: exact, fast."


def test_a_sampler_of_cfg_plus_plus_runs_exact_and_says_so(host):
    exact = host.edit(sampler_name="DDIM CFG++")
    host.probe("clear")
    fast = host.edit(sampler_name="DDIM CFG++", speed="fast")
    assert set(host.rows()) == {3}
    assert (fast.pixels == exact.pixels).all()
    assert "ran exact, not fast" in str(fast.info["comments"]) and not exact.info["comments"]


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_a_model_of_v_holds_what_it_means_in_noise(host, deviation, sampler):
    with host.options(sd_model_checkpoint="v-edit"):
        assert deviation(sampler_name=sampler, **FAST) <= 1e-4


@pytest.mark.parametrize(
    "fields, rows",
    (
        (dict(batch_size=2, count=2), (6, 2, 4, 2)),
        (dict(instruction="make it winter :0.7 AND a red hat :1.2", negative_prompt="blurry"), (4, 2, 3, 2)),
        (dict(instruction="make it winter", negative_prompt=", ".join(["snow on the roofs"] * 30)), (3, 1, 2, 1)),
    ),
    ids=("batches", "sub-prompts", "texts of two lengths"),
)
@pytest.mark.parametrize("sampler", ("Heun", "DDIM"))
def test_batches_sub_prompts_and_long_texts_equal_the_reference(host, deviation, sampler, fields, rows):
    asked = {**FAST, **fields, "sampler_name": sampler}
    assert deviation(**asked) <= 1e-4
    host.probe("clear")
    host.edit(**asked)
    assert host.rows() == cadence(host.probe("records")["noise"], rows)


@pytest.mark.parametrize("sampler", ("Euler", "DDIM", "UniPC"))
def test_from_the_picture_it_equals_the_reference(deviation, sampler):
    assert deviation(sampler_name=sampler, denoising_strength=0.7, speed="fast", steps=8) <= 1e-4


@pytest.mark.parametrize(
    "fields, rows",
    (
        (dict(image_scale=1), (2, 1, 2, 1, 2, 1)),
        (dict(text_scale=1.5), (2, 1, 2, 1, 2, 1)),
        (dict(text_scale=0), (2, 1, 1, 1, 2, 1)),
        (dict(text_scale=1, image_scale=1), (1,) * 6),
        (dict(negative_prompt="make it winter"), (2, 1, 1, 1, 2, 1)),
        (dict(instruction="[make it winter:at night:3]"), (3, 1, 2, 1, 3, 1)),  # the text changes where it is seen anew
        (dict(instruction="[make it winter:at night:2]"), (3, 1, 2, 2, 3, 1)),
    ),
    ids=str,
)
def test_a_row_that_needs_not_run_does_not(host, fields, rows):
    host.edit(**FAST, **fields)
    assert tuple(host.rows()) == rows


def test_a_guidance_that_begins_later_runs_its_pass_when_it_begins(host):
    host.edit(**FAST, scheduler="Uniform", image_start=0.5)
    begins = next(call for call, level in enumerate(host.probe("records")["noise"]) if level < 1.6)  # timestep 500
    rows = host.rows()
    assert 0 < begins < 5 and rows[begins] == 3 and max(rows[:begins]) == 2


@pytest.mark.parametrize(
    "options, place, rows",
    ((dict(skip_early_cond=0.3), slice(0, 3), [1, 1, 3]), (dict(s_min_uncond=4.0, s_min_uncond_all=True), slice(-3, None), [1, 1, 1])),
    ids=str,
)
def test_where_the_host_switches_guidance_off_the_full_pass_runs_alone(host, options, place, rows):
    with host.options(**options):
        host.edit(**FAST)
    assert host.rows()[place] == rows and 3 in host.rows()


@pytest.mark.parametrize("refiner, passes", (("other-edit", 3), ("plain", 2)))
def test_a_refiner_sees_every_difference_anew(host, refiner, passes):
    host.probe("switch", job=dict(refiner_checkpoint=refiner, refiner_switch_at=0.5))
    host.edit(**FAST, scheduler="Uniform")
    rows, levels = host.rows(), host.probe("records")["noise"]
    switched = next(call for call, level in enumerate(levels) if level < 1.7)  # timestep 499
    assert switched % 2 == 1, "else it would run anyway"
    assert rows[:switched] == [3, 1, 2, 1][:switched] and rows[switched] == passes


def test_outside_the_mask_a_fast_edit_is_the_photograph(host, photo):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (24, 0, 64, 64))
    for region in (None, {"scoped": True}):
        fast = host.edit(mask=mask, region=region, **FAST).pixels[0]
        before = np.asarray(host.defaults["image"], dtype=np.int16)
        assert (fast[:, :24] == before[:, :24]).all() and (fast[:, 24:] != before[:, 24:]).any()
        assert sum(host.rows()) < 18
        host.probe("clear")


def test_callbacks_see_what_stands_in_for_a_row_and_what_they_do_to_it_acts(host):
    plain = host.edit(**FAST).pixels
    assert [scene["denoised"] for scene in host.probe("records")["scenes"]] == [[3, 4, 8, 8]] * 6
    for row in (1, 2):
        host.probe("switch", output_factor={row: 0.5})
        assert (host.edit(**FAST).pixels != plain).any()
        host.probe("clear")


def test_every_line_of_a_chain_begins_with_every_row(host):
    host.edit(**{**FAST, "instruction": "make it winter\nat night", "batch_size": 2})
    assert host.rows() == [6, 2, 4, 2, 6, 2] * 2


# The Script


def test_img2img_runs_fast_where_its_script_says_so(host):
    request = dict(
        init_images=[host._fields({})["image"]], prompt="make it winter", steps=6, seed=7, width=64, height=64, sampler_name="Euler",
        cfg_scale=7.5, image_cfg_scale=1.5, denoising_strength=1,
    )  # fmt: skip

    def ask(*speed):
        arguments = [True, True, 0, 1, 0, 1, "working", 1, "", False, *speed]
        host.probe("clear")
        return host.post("/sdapi/v1/img2img", {**request, "alwayson_scripts": {"Instruct edit": {"args": arguments}}})

    answer = ask("fast")
    ours, reference = to_array(host.probe("latents")), to_array(host.reference(**FAST))
    assert abs(ours - reference).max() / abs(reference).max() <= 1e-4
    assert "Instruct edit speed: fast" in answer.json()["info"]
    for speed in ((), ("exact",)):
        answer = ask(*speed)
        assert host.rows() == [3] * 6 and "speed" not in answer.json()["info"]
    answer = ask("furious")
    assert answer.status_code == 422 and "no speed “furious”" in answer.json()["detail"]


# The tab


def result_of(tab: Tab) -> tuple[str, Image.Image]:
    return json.loads(tab.page.evaluate(INFO))["infotexts"][0], tab.picture(RESULT)


def test_a_fast_result_is_finished_exactly_with_its_seed_and_settings(tab, host):
    tab.set(seed="21", text_scale="5")
    tab.generate()
    exact, picture = result_of(tab)
    expect(tab["finish_exactly"]).to_be_hidden()

    tab.set(speed="fast")
    tab.generate()
    fast, quick = result_of(tab)
    assert "Instruct edit speed: fast" in fast and "speed" not in exact
    expect(tab["finish_exactly"]).to_be_visible()

    tab.set(seed="3", text_scale="9", prompt="something else")  # the result's own count, not those of the fields
    tab.forget_job()
    tab["finish_exactly"].click()
    expect(tab["finish_exactly"]).to_be_hidden()
    tab.finished()
    finished, now = result_of(tab)
    assert finished == exact
    assert (np.asarray(now) == np.asarray(picture)).all() and (np.asarray(quick) != np.asarray(picture)).any()
