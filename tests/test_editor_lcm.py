"""LCM sampling and the schedule SGM Uniform, by numbers computed from their formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import deviation, final_latents
from ip2p.edit import Edit
from ip2p.editor import timesteps_of
from tiny_model import tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]

ALPHAS = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
SIGMAS = ((1 - ALPHAS) / ALPHAS) ** 0.5


def sigmas_at(places, every: int = 1) -> np.ndarray:
    """σ at timesteps with fractions, log σ interpolated between every so many timesteps."""
    known = np.arange(every - 1, 1000, every)
    return np.exp(np.interp(places, known, np.log(SIGMAS[known])))


@pytest.mark.parametrize(
    "steps, schedule, places, told",
    (
        (4, "SGM Uniform", (999, 754, 509, 264), ({999}, {759}, {499, 519}, {259})),
        (3, "SGM Uniform", (999, 2017 / 3, 1037 / 3), ({999}, {679}, {339})),
        (1, "SGM Uniform", (999,), ({999},)),
        (4, "Automatic", (999, 2017 / 3, 1037 / 3, 19), ({999}, {679}, {339}, {19})),
        (1, "Automatic", (999,), ({999},)),
    ),
)  # fmt: skip
def test_lcm_s_levels_are_those_of_the_formula(edit, steps, schedule, places, told):
    """509 is as near to 499 as to 519, and the last bit of the processor's logarithm decides, here as in the WebUI."""
    scheduler, timesteps = timesteps_of(replace(edit, sampler_name="LCM", scheduler=schedule, steps=steps), "epsilon", torch.device("cpu"))
    assert len(timesteps) == len(told) and all(t in nearest for t, nearest in zip(timesteps.tolist(), told))
    assert np.allclose(scheduler.sigmas, [*sigmas_at(places, 20), 0], rtol=2e-5)


@pytest.mark.parametrize("sampler", ("Euler a", "Euler", "DPM++ 2M"))
@pytest.mark.parametrize("steps", (1, 4, 7))
def test_sgm_uniform_ends_a_step_before_the_last_timestep(edit, sampler, steps):
    places = 999 - 999 / steps * np.arange(steps)
    scheduler, timesteps = timesteps_of(
        replace(edit, sampler_name=sampler, scheduler="SGM Uniform", steps=steps), "epsilon", torch.device("cpu")
    )
    assert np.allclose(timesteps, places, rtol=1e-6)
    assert np.allclose(scheduler.sigmas, [*sigmas_at(places), 0], rtol=2e-5)


@torch.inference_mode()
def by_hand(editor, edit: Edit, places, told) -> torch.Tensor:
    """LCM's latents of one picture by its formulas: x0 of every level, and noise of the next one added to it."""
    sigmas = [*sigmas_at(places, 20), 0]
    condition = editor.encode_picture(edit.image)[None]
    passes = [  # weights of equation 3
        (edit.text_scale, condition, edit.instruction),
        (edit.image_scale - edit.text_scale, condition, edit.negative_prompt),
        (1 - edit.image_scale, torch.zeros_like(condition), edit.negative_prompt),
    ]
    generator = torch.Generator().manual_seed(edit.seed)
    start = editor.encode_picture(edit.image)[None] * editor.vae.config.scaling_factor
    noise = torch.randn(4, 8, 8, generator=generator)[None]
    x = sigmas[0] * noise + (start if edit.denoising_strength < 1 else 0)
    for sigma, following, t in zip(sigmas, sigmas[1:], told):
        alpha = (sigma**2 + 1) ** -0.5
        predicted = sum(
            weight * editor.unet(torch.cat([x * alpha, picture], 1), t, editor.encode_text(text)[None]).sample
            for weight, picture, text in passes
        )
        x0 = alpha**2 * x - alpha * sigma * predicted if editor.prediction_type == "v_prediction" else x - sigma * predicted
        x = ((10 * t) * x0 / ((10 * t) ** 2 + 0.25) ** 0.5) + 0.25 / ((10 * t) ** 2 + 0.25) * x
        if following:
            x = x + following * torch.randn(4, 8, 8, generator=generator)
    return x


FOUR = (999, 754, 509, 264)


def told_to(edit: Edit) -> list[int]:
    return timesteps_of(edit, "epsilon", torch.device("cpu"))[1].tolist()


@pytest.mark.parametrize("prediction_type", ("epsilon", "v_prediction"))
def test_lcm_s_latents_are_those_of_its_formulas(edit, prediction_type):
    editor = tiny_editor(prediction_type=prediction_type)
    edit = replace(edit, sampler_name="LCM", scheduler="SGM Uniform", text_scale=2.0, image_scale=1.3)
    assert deviation(final_latents(editor, edit), by_hand(editor, edit, FOUR, told_to(edit))) <= 1e-4


def test_lcm_may_start_from_the_picture(editor, edit):
    edit = replace(edit, sampler_name="LCM", scheduler="SGM Uniform", denoising_strength=0.5)
    # As many steps as the WebUI makes: three of four.
    assert deviation(final_latents(editor, edit), by_hand(editor, edit, FOUR[1:], told_to(edit)[-3:])) <= 1e-4


def test_schedules_do_not_share_a_batch(editor, edit):
    both = [replace(edit, scheduler=schedule) for schedule in ("Automatic", "SGM Uniform")]
    together = editor.edit(both)
    for result, alone in zip(together, both):
        assert np.array_equal(result.image, editor.edit(alone)[0].image)
    assert not np.array_equal(together[0].image, together[1].image)


def test_at_image_scale_1_four_steps_of_lcm_are_eight_rows(editor, edit):
    editor.edit(replace(edit, sampler_name="LCM", scheduler="SGM Uniform", steps=4, text_scale=2.0, image_scale=1.0))
    assert editor.rows == [2, 2, 2, 2]
