"""What generated pairs of synthetic scenes show, read off their pixels, and the rows they are made of."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pair sets need pyarrow (pip install -e '.[train]')")

from PIL import Image

from ip2p.__main__ import main
from ip2p.dataset.generated.draws import P_NAME
from ip2p.dataset.generated.scene_truth import truth_of
from ip2p.dataset.generated.triplet_files import Triplet, read_triplets
from ip2p.dataset.open import open_pairs
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.dataset.scenes import SHAPES, scene
from ip2p.errors import EditError

SCENES = [scene(i, 1) for i in range(24)]


def ran(capsys, *args):
    """→ status, what was printed, what was said on stderr."""
    status = main(["dataset", "scenes", *map(str, args)])
    return status, *capsys.readouterr()


def resized(pair, side):
    return replace(
        pair, **{name: getattr(pair, name).resize((side, side), Image.Resampling.BILINEAR) for name in ("original_image", "edited_image")}
    )


@pytest.mark.parametrize("side", [32, 64, 128])
def test_a_pair_that_is_what_its_captions_say_is_right_at_every_size(side):
    assert all(truth_of(resized(example.pair(), side)).right for example in SCENES)


def test_a_picture_that_was_not_edited_is_not_what_the_second_caption_says():
    truths = [truth_of(replace(pair, edited_image=pair.original_image)) for pair in (example.pair() for example in SCENES)]
    assert all(truth.first and not truth.second and not truth.right for truth in truths)


def test_a_shape_that_moved_is_what_the_caption_says_but_not_in_its_place():
    for example in SCENES:
        moved = replace(example, centre=(64 - example.centre[0], 64 - example.centre[1]), radius=12.0)
        truth = truth_of(replace(example.pair(), edited_image=moved.drawn(*moved.edited_colours)))
        same = example.inside & moved.inside
        assert truth.first and truth.second and truth.overlap == pytest.approx(same.sum() / (example.inside | moved.inside).sum(), abs=0.02)
        assert truth.right == truth.placed == (truth.overlap >= 0.7)


def test_another_shape_of_the_right_colours_is_not_what_the_caption_says():
    for example in SCENES:
        other = replace(example, shape=SHAPES[(SHAPES.index(example.shape) + 1) % len(SHAPES)])
        truth = truth_of(replace(example.pair(), edited_image=other.drawn(*example.edited_colours)))
        assert truth.first and not truth.second


def test_a_shape_that_vanished_is_nowhere():
    example = SCENES[0]
    empty = Image.fromarray(np.full((64, 64, 3), np.asarray(example.pair().edited_image)[0, 0], np.uint8))
    truth = truth_of(replace(example.pair(), edited_image=empty))
    assert not truth.second and truth.overlap == 0


def test_captions_of_anything_else_are_refused_by_name():
    with pytest.raises(EditError, match="“a cat on a sofa” is no caption of a synthetic scene"):
        truth_of(replace(SCENES[0].pair(), edited_prompt="a cat on a sofa"))


def test_rows_of_scenes_are_rows_that_pairs_are_drawn_of(tmp_path, capsys):
    status, out, _ = ran(capsys, "--rows", "5", "--output", tmp_path / "rows.jsonl")
    assert status == 0 and out.endswith("5 rows of synthetic scenes.\n")
    rows = list(read_triplets(tmp_path / "rows.jsonl", 0.1))
    assert len(rows) == 5 and all(isinstance(row, Triplet) for row in rows)
    assert [(row.input, row.output) for row in rows] == [
        (pair.original_prompt, pair.edited_prompt) for pair in (example.pair() for example in SCENES[:5])
    ]


def test_exact_pairs_of_the_same_scenes_are_right(tmp_path, capsys):
    status, out, _ = ran(capsys, "--rows", "4", "--output", tmp_path / "exact.parquet")
    exact = open_pairs(tmp_path / "exact.parquet")
    assert status == 0 and out.endswith("4 exact pairs of synthetic scenes.\n") and len(exact) == 4
    assert all(truth_of(exact[i]).right and exact[i].edit_prompt == SCENES[i].instruction for i in range(4))


def test_judged_pairs_keep_what_was_seen_and_the_table_has_its_shares_over_p(tmp_path, capsys):
    right = [replace(example.pair(), scores={P_NAME: 0.7}) for example in SCENES[:4]]
    wrong = [replace(pair, edited_image=pair.original_image, scores={P_NAME: 0.1}) for pair in right[:2]]
    strange = replace(right[0], original_prompt="a cat")
    write_pairs([*right, *wrong, strange], tmp_path / "pairs.parquet")
    files = [tmp_path / name for name in ("pairs.parquet", "judged.parquet", "p.png")]
    status, out, err = ran(capsys, files[0], "--output", files[1], "--plot", files[2])
    assert status == 0 and "“a cat” is no caption" in err
    rows = [line.split() for line in out.splitlines()[1:]]
    assert [(row[0], row[1], row[-1]) for row in rows] == [("0.1", "2", "0.000"), ("0.7", "4", "1.000"), ("all", "6", "0.667")]
    judged = open_pairs(tmp_path / "judged.parquet")
    assert [judged.texts(i)["scores"]["right"] for i in range(len(judged))] == [1.0] * 4 + [0.0] * 2
    assert Image.open(tmp_path / "p.png").size[0] > 400


def test_rows_that_are_there_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("mine")
    status, _, err = ran(capsys, "--output", tmp_path / "rows.jsonl")
    assert status == 2 and "rows.jsonl" in err and (tmp_path / "rows.jsonl").read_text() == "mine"
