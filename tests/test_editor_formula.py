"""The editor's latents are those of the paper's formula and of diffusers' own pipeline."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import deviation, final_latents, pipeline_latents, plain_formula
from ip2p.editor import SAMPLERS
from ip2p.errors import EditError
from tiny_model import tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]

SCALES = ((7.5, 1.5), (7.5, 1.0), (1.5, 1.5), (0.0, 1.5), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0), (3.0, 0.5))


@pytest.mark.parametrize("text_scale, image_scale", SCALES)
def test_an_edit_equals_the_plain_formula_with_three_passes(editor, edit, text_scale, image_scale):
    edit = replace(edit, text_scale=text_scale, image_scale=image_scale)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", (2, 7))
def test_every_sampler_equals_the_plain_formula(editor, edit, sampler, steps):
    edit = replace(edit, sampler_name=sampler, steps=steps)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


def test_a_model_that_predicts_v_equals_the_plain_formula(edit):
    editor = tiny_editor(prediction_type="v_prediction")
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5


@pytest.mark.parametrize("sampler", ("Euler a", "Euler", "DPM++ 2M", "UniPC"))
@pytest.mark.parametrize("scales", ((7.5, 1.5), (7.5, 1.0), (1.5, 1.5)))
def test_an_edit_equals_diffusers_own_pipeline(editor, edit, sampler, scales):
    edit = replace(edit, sampler_name=sampler, text_scale=scales[0], image_scale=scales[1], steps=6)
    assert deviation(final_latents(editor, edit), pipeline_latents(editor, edit)) <= 1e-4


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_lower_precision_gives_nearly_the_same_picture(editor, edit, dtype):
    exact = final_latents(editor, edit)
    rough = final_latents(tiny_editor().to("cpu", dtype), edit)
    assert deviation(rough, exact) <= 0.2


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", (1, 2, 3, 30, 200))
def test_a_sampler_begins_at_the_noisiest_timestep_whatever_the_step_count(editor, edit, sampler, steps):
    edit = replace(edit, sampler_name=sampler, steps=steps)
    if (sampler, steps) == ("DDIM", 1):
        with pytest.raises(EditError, match="makes no step at 1 steps"):
            editor.timesteps(edit)
    else:
        _, timesteps = editor.timesteps(edit)
        assert float(timesteps[0]) > 500
        assert (timesteps.diff() <= 0).all()
