"""Varied synthetic scenes: captions in many words, what reads and what draws them, edits, and what their pictures show."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pair sets need pyarrow (pip install -e '.[train]')")
pytest.importorskip("rapidfuzz", reason="the rules of instructions need rapidfuzz (pip install -e '.[data]')")

from ip2p.__main__ import main
from ip2p.dataset.generated.scene_truth import truth_of
from ip2p.dataset.generated.triplet_files import read_triplets
from ip2p.dataset.instructions.captions import read_captions
from ip2p.dataset.instructions.finetune import read_rows
from ip2p.dataset.instructions.rules import Rules
from ip2p.dataset.open import open_pairs
from ip2p.dataset.varied.captioned import CaptionedScenes
from ip2p.dataset.varied.description import ABOVE, LEFT_OF, Description, Thing
from ip2p.dataset.varied.drawer import Drawing
from ip2p.dataset.varied.grammar import captions
from ip2p.dataset.varied.looks import place_of, seen, size_of, texture_of
from ip2p.dataset.varied.scene_edits import GROUND, HELD_OUT, KINDS, PHRASINGS, PLACE, SHAPE, SIZE, TEXTURE, scene_edits
from ip2p.errors import EditError

EDITS = list(islice(scene_edits(1), 400))


def ran(capsys, *args):
    """→ status, what was printed, what was said on stderr."""
    status = main(["dataset", "scenes", *map(str, args)])
    return status, *capsys.readouterr()


def test_every_caption_of_the_grammar_is_read_as_what_it_was_made_of():
    drawn = list(islice(captions(2), 1500))
    assert [Description.by(caption) for _, _, caption in drawn] == [said for said, _, _ in drawn]
    assert len({caption for *_, caption in drawn}) == 1500, "each once"
    assert {len(said.things) for said, *_ in drawn} == {1, 2}


@pytest.mark.parametrize(
    "caption, said",
    [
        ("a red circle on a blue background", Description((Thing("circle", "red"),), "blue")),
        ("On green: a tiny, white box", None),
        ("on green, a tiny white box.", Description((Thing("square", "white", "small"),), "green")),
        ("a red large disc on a blue background at the top", Description((Thing("circle", "red", "large"),), "blue", "top")),
        ("a red circle right of a stripy black square on white",
         Description((Thing("square", "black", "", "striped"), Thing("circle", "red")), "white", LEFT_OF)),
        ("a red circle under a black square on a white ground", Description((Thing("square", "black"), Thing("circle", "red")), "white", ABOVE)),
        ("a red circle on the right and a black square on the left, on a white ground",
         Description((Thing("square", "black"), Thing("circle", "red")), "white", LEFT_OF)),
        ("a red blue circle on a green background", None),
        ("a red circle", None),
        ("a circle on a blue background", None),
        ("a red circle wearing a hat on a blue background", None),
        ("a red circle and a green square on a blue background", None),
        ("a red circle, a green square and a white box on a blue background", None),
        ("a red circle on the left at the top of a blue background", None),
    ],
)  # fmt: skip
def test_what_says_too_much_or_too_little_is_refused(caption, said):
    if said:
        assert Description.by(caption) == said
    else:
        with pytest.raises(EditError, match="is no caption of a synthetic scene"):
            Description.by(caption)


def test_exact_pairs_of_every_kind_are_right_and_half_an_edit_is_not():
    kinds = Counter(edit.kind for edit in EDITS)
    assert set(kinds) == set(KINDS) and kinds[SHAPE] > kinds[SIZE]
    for edit in EDITS:
        pair = edit.pair()
        assert truth_of(pair).right, edit
        undone = truth_of(replace(pair, edited_image=pair.original_image))
        assert undone.first and not undone.second, edit


def test_an_edit_leaves_in_its_place_what_it_does_not_name():
    for edit in EDITS:
        before, after = (np.asarray(drawing.picture(), int) for drawing in (edit.before, edit.after))
        changed = np.abs(before - after).any(-1)
        masks = [edit.before.mask(i) | edit.after.mask(i) for i in range(len(edit.before.description.things))]
        allowed = edit.before.ground if edit.target is None else masks[edit.target]
        assert changed.any() and not (changed & ~allowed).any(), edit


def test_colours_sizes_places_and_textures_are_read_off_the_pixels():
    rng = np.random.default_rng(0)
    for said, *_ in islice(captions(3), 400):
        drawing = Drawing.of(said, rng)
        pixels = np.asarray(drawing.picture(), np.float32)
        right, things = seen(pixels, said)
        assert right and (things == ~drawing.ground).mean() > 0.99
        if len(said.things) == 1:
            thing, mask = said.things[0], drawing.mask(0)
            assert (size_of(mask), place_of(mask), texture_of(pixels, mask, thing.colour)) == (thing.size, said.place, thing.texture)
        for wrong in (replace(said, ground=said.things[0].colour), replace(said, things=(replace(said.things[0], shape="circle" if said.things[0].shape != "circle" else "square"), *said.things[1:]))):  # fmt: skip
            assert not seen(pixels, wrong)[0]


def test_instructions_pass_the_filters_of_a_small_model_and_held_out_ones_are_in_other_words():
    rules = Rules(faithful=True)
    assert [edit for edit in EDITS if rules.reason_of(edit.captions[0], edit.instruction, edit.captions[1])] == []
    assert all(not set(PHRASINGS[kind]) & set(HELD_OUT[kind]) for kind in (SHAPE, GROUND, SIZE, TEXTURE, PLACE))
    held_out = list(islice(scene_edits(1, held_out=True), 400))
    assert {edit.kind for edit in held_out} == set(KINDS)
    assert not {edit.instruction for edit in held_out} & {edit.instruction for edit in EDITS}


def test_captioned_scenes_are_single_pictures_each_with_its_caption():
    scenes = CaptionedScenes(40, 5)
    assert len({scenes.caption(i) for i in range(40)}) == 40
    assert all(seen(np.asarray(scenes.picture(i), np.float32), Description.by(scenes.caption(i)))[0] for i in range(40))


def test_rows_and_captions_of_varied_scenes_are_what_the_other_verbs_take(tmp_path, capsys):
    rows, texts = tmp_path / "rows.jsonl", tmp_path / "captions.txt"
    assert ran(capsys, "--varied", "--rows", 60, "--output", rows)[:2] == (0, f"Wrote {rows}: 60 rows of varied scenes.\n")
    assert ran(capsys, "--varied", "--rows", 80, "--output", texts, "--unlike", rows)[:2] == (
        0,
        f"Wrote {texts}: 80 captions of varied scenes.\n",
    )
    known = {text for row in read_rows(str(rows)) for text in (row["input"], row["output"])}
    assert len(known) > 60 and [row.input for row in read_triplets(rows, 0)] == [edit.captions[0] for edit in EDITS[:60]]
    unseen = [caption.text for caption in read_captions(texts)]
    assert len(set(unseen)) == 80 and not known & set(unseen)


def test_exact_pairs_are_drawn_of_rows_that_anybody_wrote(tmp_path, capsys):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"id": "1", "input": "a red circle on a blue background", "edit": "make it huge", "output": "a huge red circle on a blue background"}\n'
        '{"id": "2", "input": "a red circle on a blue background", "edit": "make it blue", "output": "a blue circle on a blue background"}\n'
        '{"id": "3", "input": "a cat", "edit": "make it a dog", "output": "a dog"}\n'
    )
    status, out, err = ran(capsys, "--exact", rows, "--output", tmp_path / "exact.parquet")
    assert status == 0 and "1 exact pairs" in out and "2 rows" in err and "“make it blue” leads to a scene" in err and "“a cat”" in err
    exact = open_pairs(tmp_path / "exact.parquet")
    assert len(exact) == 1 and truth_of(exact[0]).right and exact[0].edit_prompt == "make it huge"


@pytest.mark.parametrize(
    "options, why",
    [
        (["--rows", 0], "--rows is at least 1"),
        (["--unlike", "a.jsonl"], "--unlike goes with --varied"),
        (["--exact", "a.jsonl", "--rows", 3], "--exact takes the rows as they are"),
        (["--exact", "a.jsonl"], "--exact writes a .parquet file"),
        (["pairs", "--varied"], "--varied is of rows that are written"),
        (["--plot", "a.png"], "--plot is of pairs"),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(tmp_path, capsys, options, why):
    status, _, err = ran(capsys, *options, "--output", tmp_path / "rows.jsonl")
    assert status == 2 and why in err and err.count("\n") == 1
    assert ran(capsys, "--output", tmp_path / "captions.txt")[0] == 2 and not list(tmp_path.iterdir())
