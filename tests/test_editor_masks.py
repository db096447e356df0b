"""Masks in the editor: what is not white stays as it is, in every mode and at the picture's own size."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import final_latents, half_mask
from ip2p.editor import SAMPLERS
from tiny_model import tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("strength", (1.0, 0.6))
def test_a_mask_keeps_every_other_pixel_exactly(editor, edit, picture, sampler, strength):
    mask = half_mask(picture.size)
    black = np.asarray(mask) == 0
    edit = replace(edit, mask=mask, sampler_name=sampler, denoising_strength=strength, count=2)
    for result in editor.edit(edit):
        pixels = np.asarray(result.image)
        assert (pixels[black] == np.asarray(picture)[black]).all()
        assert (pixels[~black] != np.asarray(picture)[~black]).any(axis=-1).mean() > 0.5
        assert "Instruct edit mask: True" in result.infotext


@pytest.mark.parametrize("prediction_type", ("epsilon", "v_prediction"))
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_outside_the_mask_become_the_picture_s(edit, picture, sampler, prediction_type):
    editor = tiny_editor(prediction_type=prediction_type)
    latents = final_latents(editor, replace(edit, mask=half_mask(picture.size), sampler_name=sampler, steps=10))[0]
    own = editor.encode_picture(picture) * editor.vae.config.scaling_factor
    # DDIM stops at timestep 1, where a little noise is left.
    assert (latents - own)[..., :4].abs().max() <= (0.2 if sampler == "DDIM" else 1e-3)


def test_a_mask_keeps_every_other_pixel_at_the_picture_s_own_size(editor, edit, picture):
    wide = picture.resize((150, 90))
    mask = half_mask(wide.size)
    edit = replace(edit, image=wide, mask=mask, own_size=True, width=None, height=None, longest_side=128)
    (result,) = editor.edit(edit)
    black = np.asarray(mask) == 0
    assert result.image.size == (150, 90)
    assert (np.asarray(result.image)[black] == np.asarray(wide)[black]).all()
    assert "Size: 128x128" in result.infotext and "Instruct edit result: own-size" in result.infotext


@pytest.mark.parametrize("mode", ("RGBA", "L", "P", "LA"))
def test_a_picture_of_another_mode_is_edited(editor, edit, picture, mode):
    image = picture.convert(mode)
    results = editor.edit(replace(edit, image=image, mask=half_mask(image.size), own_size=True))
    assert (np.asarray(results[0].image)[:, :32] == np.asarray(image.convert("RGB"))[:, :32]).all()
