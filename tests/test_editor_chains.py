"""Instructions of several lines in the editor: each line edits the result of the line before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import difference, half_mask
from ip2p.edit import random_scales
from ip2p.editor import Interrupted
from ip2p.images import fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]

CHAIN = "make it winter\n\n  add a hat "


def by_hand(editor, edit, seed) -> list:
    """A chain of `CHAIN` for one seed, line by line: of each line its result."""
    first = editor.edit(replace(edit, instruction="make it winter", seed=seed, count=1))[0]
    second = editor.edit(replace(edit, instruction="add a hat", seed=seed, count=1, image=first.image))[0]
    return [first, second]


@pytest.mark.parametrize("batch_size", (16, 1))
def test_result_k_of_a_line_starts_from_result_k_of_the_line_before(editor, edit, batch_size):
    results = editor.edit(replace(edit, instruction=CHAIN, count=2), batch_size=batch_size)
    assert [(result.infotext.splitlines()[0], result.seed) for result in results] == [
        ("make it winter", 7), ("make it winter", 8), ("add a hat", 7), ("add a hat", 8),
    ]  # fmt: skip
    expected = [by_hand(editor, edit, seed)[line] for line in (0, 1) for seed in (7, 8)]
    assert [difference(ours, theirs) <= 1 for ours, theirs in zip(results, expected)] == [True] * 4
    other = editor.edit(replace(edit, instruction="add a hat", seed=8, image=results[0].image))[0]
    assert difference(results[3], other) > 1, "the lines' pictures differ enough to tell"


def test_chains_of_several_edits_come_back_edit_by_edit(editor, edit):
    edits = [edit, replace(edit, instruction=CHAIN), replace(edit, instruction="a\nb\nc", width=72, steps=2)]
    results = editor.edit(edits)
    assert [result.infotext.splitlines()[0] for result in results] == ["make it winter", "make it winter", "add a hat", "a", "b", "c"]
    assert [result.image.width for result in results] == [64, 64, 64, 72, 72, 72]
    assert difference(results[2], by_hand(editor, edit, 7)[1]) <= 1


def test_a_chain_has_one_seed_and_one_pair_of_scales_a_result(editor, edit):
    results = editor.edit(replace(edit, instruction=CHAIN, seed=-1, count=2, randomise_scales=True))
    assert [result.seed for result in results[2:]] == [result.seed for result in results[:2]]
    for result in results:
        assert (result.text_scale, result.image_scale) == random_scales(result.seed)


@pytest.mark.parametrize("result", ("working", "own-size", "full"))
def test_a_mask_holds_for_every_line_and_no_line_changes_the_size(editor, edit, picture, result):
    wide = picture.resize((150, 90))
    mask = half_mask(wide.size)
    edit = replace(edit, image=wide, mask=mask, result=result, width=None, height=None, longest_side=128, instruction="a\nb\nc")
    results = editor.edit(edit)
    size, worked_at = ((128, 64), "128x64") if result == "working" else ((150, 90), "128x128")
    black = np.asarray(fit(mask, size)) == 0
    before = np.asarray(fit(wide, size))
    for one in results:
        assert one.image.size == size and f"Size: {worked_at}" in one.infotext and "Instruct edit mask: True" in one.infotext
        assert (np.asarray(one.image)[black] == before[black]).all()
        assert (np.asarray(one.image)[~black] != before[~black]).any(axis=-1).mean() > 0.5
        before = np.asarray(one.image)


def test_the_noise_of_a_result_holds_for_every_line(editor, edit):
    own = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    results = editor.edit(replace(edit, instruction=CHAIN, count=2), noise=own)
    for k in (0, 1):
        first = editor.edit(replace(edit, seed=7 + k), noise=own[k : k + 1])[0]
        second = editor.edit(replace(edit, instruction="add a hat", seed=7 + k, image=first.image), noise=own[k : k + 1])[0]
        assert difference(results[2 + k], second) <= 1


def test_every_line_has_a_heat_map_of_its_own(editor, edit):
    results = editor.edit(replace(edit, instruction=CHAIN, heat_map=True))
    alone = [editor.edit(replace(edit, heat_map=True))[0]]
    alone += editor.edit(replace(edit, instruction="add a hat", image=alone[0].image, heat_map=True))
    maps = [np.asarray(result.heat_map, dtype=int) for result in results]
    assert [abs(ours - np.asarray(one.heat_map, dtype=int)).max() <= 3 for ours, one in zip(maps, alone)] == [True, True]
    assert abs(maps[0] - maps[1]).max() > 3


def test_the_steps_of_all_lines_are_counted_and_a_stopped_chain_gives_its_finished_lines(editor, edit):
    seen = []
    edit = replace(edit, instruction="a\nb\nc")
    editor.edit(edit, on_step=lambda step, total, latents: seen.append((step, total)))
    assert seen == [(step, 12) for step in range(1, 13)]
    with pytest.raises(Interrupted) as stopped:
        editor.edit(edit, on_step=lambda step, total, latents: step < 10)
    assert [result.infotext.splitlines()[0] for result in stopped.value.results] == ["a", "b"]
