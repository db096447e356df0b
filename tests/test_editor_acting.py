"""In the editor, the region that an instruction means, and the picture of where it acts."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from ip2p.errors import EditError
from ip2p.located import located
from ip2p.region import FROM_INSTRUCTION
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
