"""Which passes of the network the editor runs, and in how large calls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import deviation, difference, final_latents, half_mask, plain_formula
from ip2p.edit import Variant
from ip2p.editor import OUT_OF_MEMORY
from ip2p.errors import EditError
from tiny_model import tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]


@pytest.mark.parametrize(
    "text_scale, image_scale, text_is_negative, rows",
    [
        (7.5, 1.5, False, 3), (7.5, 1.0, False, 2), (1.5, 1.5, False, 2), (0.0, 1.5, False, 2), (1.0, 1.0, False, 1),
        (0.0, 1.0, False, 1), (0.0, 0.0, False, 1), (7.5, 1.5, True, 2), (7.5, 1.0, True, 1), (7.5, 0.0, True, 1),
    ],
)  # fmt: skip
def test_a_pass_without_weight_is_never_run(editor, edit, text_scale, image_scale, text_is_negative, rows):
    negative = "Make  it winter" if text_is_negative else edit.negative_prompt  # the same tokens
    editor.edit(replace(edit, text_scale=text_scale, image_scale=image_scale, negative_prompt=negative))
    assert editor.rows == [rows] * edit.steps


def test_passes_are_counted_picture_by_picture(editor, edit):
    cells = (Variant(7.5, 1.5, 7), Variant(7.5, 1.0, 7), Variant(1.0, 1.0, 7))
    results = editor.edit(replace(edit, variants=cells))
    assert editor.rows == [3 + 2 + 1] * edit.steps
    for cell, result in zip(cells, results):
        (alone,) = editor.edit(replace(edit, text_scale=cell.text_scale, image_scale=cell.image_scale))
        assert difference(alone, result) <= 1


def test_a_schedule_is_kept_and_its_passes_are_dropped_outside(editor, edit):
    edit = replace(edit, steps=5, text_start=0.3, image_start=0.3, image_end=0.6)
    assert deviation(final_latents(editor, edit), plain_formula(editor, edit, 7)) <= 1e-5
    editor.edit(edit)
    assert editor.rows == [1, 1, 3, 2, 2]  # before the start both scales are 1, after the end of the image's that one is


@pytest.mark.parametrize("steps, rows", ((20, 35), (10, 18)))
def test_a_fast_edit_runs_three_fifths_of_the_rows(editor, edit, steps, rows):
    editor.edit(replace(edit, steps=steps, speed="fast"))
    assert sum(editor.rows) == rows
    editor.edit(replace(edit, steps=steps))
    assert sum(editor.rows) == 3 * steps


@pytest.mark.parametrize("prediction_type", ("epsilon", "v_prediction"))
@pytest.mark.parametrize("sampler", ("Euler a", "Euler", "DPM++ 2M", "DDIM", "UniPC"))
def test_a_fast_edit_holds_the_terms_of_the_guidance(edit, prediction_type, sampler):
    editor = tiny_editor(prediction_type=prediction_type)
    fast = replace(edit, steps=6, speed="fast", sampler_name=sampler)
    ours = final_latents(editor, fast)
    assert deviation(ours, plain_formula(editor, fast, 7)) <= 1e-4
    assert deviation(ours, plain_formula(editor, replace(fast, speed="exact"), 7)) > 1e-3


def test_a_fast_edit_from_the_picture_and_inside_a_mask_keeps_to_them(editor, edit):
    fast = replace(edit, steps=8, speed="fast", denoising_strength=0.5, mask=half_mask(edit.image.size))
    (result,) = editor.edit(fast)
    assert editor.rows == [3, 1, 2, 1, 3]
    outside = np.asarray(fast.mask) == 0
    assert (np.asarray(result.image)[outside] == np.asarray(edit.image)[outside]).all()


@pytest.mark.parametrize("most, calls", ((2, [6, *[2] * 6]), (1, [6, 2, *[1] * 12])))
def test_when_memory_runs_out_passes_run_in_smaller_calls_and_the_picture_stays(editor, edit, monkeypatch, most, calls):
    edit = replace(edit, count=2, steps=2)
    whole = editor.edit(edit)
    rows, forward = [], editor.unet.forward

    def short_of_memory(x, *args, **kwargs):
        rows.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("the test has no more")
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(editor.unet, "forward", short_of_memory)
    short = editor.edit(edit)
    assert [difference(a, b) <= 1 for a, b in zip(whole, short)] == [True, True]
    assert rows == calls and editor.rows == [6, 6]


def test_when_one_row_is_too_much_it_is_a_sentence(editor, edit, monkeypatch):
    def none(*args, **kwargs):
        raise torch.OutOfMemoryError("none at all")

    monkeypatch.setattr(editor.unet, "forward", none)
    with pytest.raises(EditError, match=OUT_OF_MEMORY):
        editor.edit(edit)
