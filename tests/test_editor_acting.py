"""In the editor, the region that an instruction means, and the picture of where it acts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import difference, final_latents, half_mask
from ip2p.editor import SAMPLERS
from ip2p.errors import EditError
from ip2p.located import located
from ip2p.region import FROM_INSTRUCTION, PAINTED, Region
from ip2p.where import INSTRUCTION, Where

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]


@pytest.fixture
def acting(edit, picture):
    """An edit of a wide picture that keeps to where its instruction acts."""
    wide = picture.resize((480, 240), Image.Resampling.BICUBIC)
    return replace(edit, image=wide, region=Where(INSTRUCTION), result="full", width=None, height=None, longest_side=128, steps=2)


def share(editor, edit, **where) -> float:
    (region,) = located(replace(edit, region=Where(INSTRUCTION, **where)), editor.finders).parts
    assert region.origins == (FROM_INSTRUCTION,) and region.size == edit.image.size
    return region.share


def test_an_edit_keeps_to_where_its_instruction_acts(editor, acting):
    mask = np.asarray(located(acting, editor.finders).mask)
    results = editor.edit(replace(acting, count=2))
    for result in results:
        changed = (np.asarray(result.image) != np.asarray(acting.image)).any(-1)
        assert not changed[mask == 0].any() and changed[mask == 255].mean() > 0.5
        assert "Instruct edit region: from the instruction" in result.infotext
    assert 0 < (mask == 0).mean() < 1


def test_a_lower_threshold_gives_a_larger_region(editor, acting):
    shares = [share(editor, acting, threshold=threshold) for threshold in (0.2, 0.5, 0.8)]
    assert 1 > shares[0] > shares[1] > shares[2] > 0
    assert share(editor, acting, threshold=0.5) == shares[1], "it follows from the picture and the instruction alone"


def test_the_region_of_a_chain_is_where_any_of_its_lines_acts(editor, acting):
    def region(instruction):
        edit = replace(acting, instruction=instruction, region=Where(INSTRUCTION, feather=0))
        return located(edit, editor.finders).parts[0].levels()

    first, second = region("make it winter"), region("add a hat")
    assert np.allclose(region("make it winter\nadd a hat"), np.maximum(first, second), atol=2e-3)


def test_an_instruction_that_is_the_negative_prompt_acts_nowhere(editor, acting):
    with pytest.raises(EditError, match="There is no place that the instruction acts on in the picture"):
        editor.edit(replace(acting, negative_prompt=acting.instruction))


def test_the_picture_of_where_it_acts_is_of_the_instruction_not_of_the_result(editor, acting):
    first, second = editor.edit(replace(acting, region=None, heat_map=True, batch_size=2))
    assert first.heat_map.size == (128, 64) and first.heat_map.tobytes() == second.heat_map.tobytes()
    (without_guidance,) = editor.edit(replace(acting, region=None, heat_map=True, text_scale=1.0, image_scale=1.0))
    assert without_guidance.heat_map.tobytes() == first.heat_map.tobytes() and editor.rows == [1] * acting.steps
    (other,) = editor.edit(replace(acting, region=None, heat_map=True, instruction="add a hat", text_scale=1.0))
    assert other.heat_map.tobytes() != first.heat_map.tobytes()
    assert editor.edit(replace(acting, region=None))[0].heat_map is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_scoped_edit_keeps_its_guidance_to_the_region_with_every_sampler(editor, edit, sampler):
    mask = half_mask(edit.image.size)
    scoped = replace(edit, mask=mask, region=Where(scoped=True, feather=0), sampler_name=sampler, steps=3)
    (result,) = editor.edit(scoped)
    outside = np.asarray(mask.resize(result.image.size)) == 0
    assert np.array_equal(np.asarray(result.image)[outside], np.asarray(edit.image.resize(result.image.size))[outside])
    assert editor.rows == [3] * len(editor.rows) and "Instruct edit region: painted; feather 0; scoped" in result.infotext
    held = editor.edit(replace(scoped, region=Where(feather=0)))[0]
    assert difference(result, held) > 0


def test_where_the_region_is_everything_a_scoped_edit_is_the_plain_one(editor, edit):
    whole = replace(edit, mask=Image.new("L", edit.image.size, 255))
    plain = final_latents(editor, replace(whole, mask=None))
    assert torch.equal(final_latents(editor, replace(whole, region=Where(scoped=True), parts=(Region.of(whole.mask, PAINTED),))), plain)


def test_the_colour_of_the_photograph_stays_within_the_region_as_far_as_is_asked(editor, edit):
    edit = replace(edit, mask=half_mask(edit.image.size))
    photograph = np.asarray(edit.image, float)
    inside = np.asarray(edit.mask) > 0

    def shift(keep_colour: float) -> tuple[float, np.ndarray]:
        (result,) = editor.edit(replace(edit, region=Where(keep_colour=keep_colour, feather=0), result="own-size", crop=False))
        pixels = np.asarray(result.image)
        assert np.array_equal(pixels[~inside], np.asarray(edit.image)[~inside])
        blurred = np.asarray(result.image.filter(ImageFilter.GaussianBlur(4)), float)
        return np.abs(blurred - np.asarray(edit.image.filter(ImageFilter.GaussianBlur(4)), float))[inside].mean(), pixels

    free, half, kept = (shift(share) for share in (0, 0.5, 1))
    assert free[0] > half[0] > kept[0] and kept[0] < 0.5 * free[0]
    assert np.abs(kept[1] - photograph)[inside].mean() > kept[0], "its detail is the edit's"
