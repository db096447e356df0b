"""`dataset filter` and its status: what is kept, what is stored, going on, and pairs that can't be scored."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
from datasets import Image, Value
from PIL import Image as Pictures

from filter_cases import ColourWords, moved, scene_pair, scene_set
from ip2p.dataset.filtering import score_store
from ip2p.dataset.filtering.filter_run import Filtering, filtered
from ip2p.dataset.filtering.score_store import ScoreStore
from ip2p.dataset.filtering.selection import Selection
from ip2p.dataset.filtering.thresholds import Thresholds
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import Pair
from ip2p.scorers.pair_scorer import PairScorer
from ip2p.scorers.similarities import Similarities
from pair_sets import jpeg, tree, write_set
from test_cli_dataset import ran
from test_public_sets import OMNI_EDIT, ULTRA_EDIT

pytestmark = pytest.mark.usefixtures("own_cache")
DIRECTION = "words_sim_dir"


class Given(PairScorer):
    """Gives each pair the number that its extra column says; a text there is an error of the scorer's, or its reason."""

    name, scores = "given", ("given",)

    def __init__(self, stop_after: int = 1000):
        self.left, self.seen = stop_after, []

    def score(self, pairs):
        if self.left <= 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.seen += [pair.extra["number"] for pair in pairs]
        if any(pair.extra["number"] == 13 for pair in pairs):
            raise ZeroDivisionError("thirteen is not scored")
        return ["it is seven" if pair.extra["number"] == 7 else {"given": float(pair.extra["number"])} for pair in pairs]


def numbered(count: int, row_of=lambda i: i) -> list[Pair]:
    return [
        Pair(
            Pictures.new("RGB", (8, 8), (i, 0, 0)),
            Pictures.new("RGB", (8, 8)),
            ("darken it",),
            extra={"number": i, "id": f"row{row_of(i)}", "sample": i},
        )
        for i in range(count)
    ]


def kept_of(tmp_path, pairs, scorers, thresholds, most=4, by="given", **more):
    """Numbers of the pairs kept, and how many by the reason."""
    store = ScoreStore(tmp_path / "set.parquet.scores")
    selection = Selection(Thresholds(thresholds), most, by)
    counts = filtered(pairs, scorers, store, Filtering(tmp_path / "set.parquet", selection, tmp_path / "kept.parquet", force=True, **more))
    return [pair.extra["number"] for pair in open_pairs(tmp_path / "kept.parquet")], counts


def test_of_each_row_the_best_are_kept_in_their_order(tmp_path):
    pairs = scene_set(tmp_path / "set.parquet", numbered(12, row_of=lambda i: i % 2))
    kept, counts = kept_of(tmp_path, pairs, [Given()], {"given": 3.0}, most=2)
    assert kept == [8, 9, 10, 11]
    assert counts == {
        "": 4,
        "given below 3": 3,
        "could not be scored: it is seven": 1,
        "not among the 2 of its row with the highest given": 4,
    }
    assert kept_of(tmp_path, pairs, [Given()], {"given": 3.0}, most=None)[0] == [3, 4, 5, 6, 8, 9, 10, 11]
    assert open_pairs(tmp_path / "kept.parquet")[0].scores == {"given": 3.0}


def test_thresholds_change_without_scoring_again(tmp_path):
    pairs = scene_set(tmp_path / "set.parquet", numbered(6))
    first = Given()
    assert kept_of(tmp_path, pairs, [first], {"given": 1.0})[0] == [1, 2, 3, 4, 5] and first.seen == [0, 1, 2, 3, 4, 5]
    again, words = Given(), Similarities(ColourWords())
    assert kept_of(tmp_path, pairs, [again], {"given": 4.0})[0] == [4, 5] and not again.seen
    assert kept_of(tmp_path, pairs, [again, words], {"given": 5.0})[0] == [5] and not again.seen and words.scorer.looked_at == 12


def test_scoring_that_was_interrupted_goes_on_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(score_store, "ROWS", 4)
    pairs = scene_set(tmp_path / "set.parquet", numbered(10))
    kept_of(tmp_path, pairs, [Given()], {"given": 1.0})
    whole = tree(tmp_path / "set.parquet.scores")
    assert len(whole) == 3 + 2
    for name in whole:
        (tmp_path / "set.parquet.scores" / name).unlink()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            kept_of(tmp_path, pairs, [Given(stop_after=1)], {"given": 1.0})
    rest = Given()
    kept_of(tmp_path, pairs, [rest], {"given": 1.0})
    assert rest.seen == [8, 9] and tree(tmp_path / "set.parquet.scores") == whole


def test_a_pair_that_cannot_be_scored_is_set_aside_with_its_reason_and_tried_again_when_asked(tmp_path):
    write_set(
        tmp_path / "set.parquet",
        {
            "input_image": ([jpeg(0), b"no picture", jpeg(2), jpeg(3)], Image()),
            "edited_image": ([jpeg(10), jpeg(11), jpeg(12), jpeg(13)], Image()),
            "edit_prompt": (["a", "b", "c", "d"], Value("string")),
            "number": ([5, 6, 7, 13], Value("int64")),
        },
    )
    pairs = open_pairs(tmp_path / "set.parquet")
    kept, counts = kept_of(tmp_path, pairs, [Given()], {"given": 1.0})
    assert kept == [5] and [count for reason, count in counts.items() if reason] == [1, 1, 1]
    assert "could not be scored: given failed: thirteen is not scored" in counts and "could not be scored: it is seven" in counts
    assert any(re.fullmatch("could not be scored: the picture before .*", reason, re.IGNORECASE) for reason in counts)
    again = Given()
    kept_of(tmp_path, pairs, [again], {"given": 1.0}, retry=True)
    assert set(again.seen) == {7, 13}, "what is scored is not scored again"


def wrong_and_right(count: int) -> list[Pair]:
    """Every second pair's picture after moved."""
    pairs = [scene_pair(i) for i in range(count)]
    return [replace(pair, edited_image=moved(pair.edited_image)) if i % 2 else pair for i, pair in enumerate(pairs)]


@pytest.fixture
def scenes(tmp_path):
    scene_set(tmp_path / "scenes.parquet", wrong_and_right(12))
    return tmp_path / "scenes.parquet"


def test_the_command_keeps_what_reaches_its_thresholds_and_status_says_and_shows_why(scenes, tmp_path, capsys):
    command = ("filter", scenes, "--output", tmp_path / "kept.parquet", "--scorer", "edges", "--scorer", "ssim", "--at-least", "edges=0.8")
    status, out, err = ran(capsys, *command)
    assert (status, err) == (0, []) and out == f"Wrote {tmp_path / 'kept.parquet'}: 6 of 12 pairs.\n          6  edges below 0.8\n"
    kept = list(open_pairs(tmp_path / "kept.parquet"))
    assert len(kept) == 6 and all(pair.scores["edges"] > 0.9 and "ssim" in pair.scores for pair in kept)
    assert [pair.edit_prompt for pair in kept] == [scene_pair(i).edit_prompt for i in range(0, 12, 2)]
    status, out, err = ran(capsys, "status", f"{scenes}.scores", "--pictures", tmp_path / "shown")
    assert (status, err) == (0, []) and "kept        6 (50.0%), in kept.parquet" in out and "6  edges below 0.8" in out
    shown = {path.name: Pictures.open(path).convert("RGB") for path in (tmp_path / "shown").iterdir()}
    assert set(shown) == {"scores.png", "kept.png", "rejected.png"}
    colours = {tuple(colour) for colour in np.unique(np.asarray(shown["scores.png"]).reshape(-1, 3), axis=0)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours, "kept and rejected ones have a colour each"
    assert ran(capsys, *command)[0] == 2, "the output is there"


def test_the_original_layout_is_written_where_the_output_is_a_folder(scenes, tmp_path, capsys):
    assert ran(capsys, "filter", scenes, "--output", tmp_path / "layout", "--scorer", "edges", "--at-least", "edges=0.8")[0] == 0
    layout = open_pairs(tmp_path / "layout")
    assert len(json.loads((tmp_path / "layout" / "seeds.json").read_text())) == len(layout) == 6
    assert all(pair.scores["edges"] > 0.9 for pair in layout)


def test_a_set_beside_its_scores_is_still_one_set(scenes, tmp_path, capsys):
    assert (
        ran(capsys, "filter", scenes, "--output", tmp_path / "out" / "kept.parquet", "--scorer", "edges", "--at-least", "edges=0.8")[0] == 0
    )
    (tmp_path / "out").rename(tmp_path.parent / "elsewhere")
    assert len(open_pairs(tmp_path)) == 12


def test_a_picture_that_was_replaced_is_scored_again(tmp_path, capsys):
    pair = scene_pair(0)
    pair.original_image.save(tmp_path / "before.png")
    (tmp_path / "set.csv").write_text("before,after,instruction\nbefore.png,after.png,recolour it\n")
    for after, status in ((pair.edited_image, 0), (moved(pair.edited_image), 2)):
        after.save(tmp_path / "after.png")
        command = (
            "filter",
            tmp_path / "set.csv",
            "--output",
            tmp_path / "kept.parquet",
            "--scorer",
            "edges",
            "--at-least",
            "edges=0.8",
            "--force",
        )
        assert ran(capsys, *command)[0] == status


def test_scores_that_a_public_set_brings_are_criteria_without_a_scorer(tmp_path, capsys):
    write_set(tmp_path / "ultra.parquet", ULTRA_EDIT | {"ssim": ([0.5, 0.9], Value("float64"))})
    write_set(tmp_path / "omni.parquet", OMNI_EDIT | {"pq_score": ([7.0, 9.0], Value("float64"))})
    for name, threshold in (("ultra", "ssim=0.8"), ("omni", "pq_score=8")):
        status, out, err = ran(
            capsys,
            "filter",
            tmp_path / f"{name}.parquet",
            "--output",
            tmp_path / f"{name}-kept.parquet",
            "--scorer",
            "none",
            "--at-least",
            threshold,
        )
        assert (status, err) == (0, []) and "1 of 2 pairs" in out
        assert [pair.edit_prompt for pair in open_pairs(tmp_path / f"{name}-kept.parquet")] == ["make it 1"]


@pytest.mark.parametrize(
    "options, why",
    [
        (("--scorer", "vit"), "There is no scorer “vit”"),
        (("--scorer", "edges"), "There are no thresholds for the scores of edges"),
        (("--scorer", "none"), "There are no thresholds for the scores: name them"),
        (("--scorer", "edges", "--scorer", "edges", "--at-least", "edges=1"), "Two scorers give edges"),
        (("--scorer", "edges", "--at-least", "edges"), "--at-least is NAME=NUMBER"),
        (("--scorer", "edges", "--at-least", "edges=nan"), "--at-least is NAME=NUMBER"),
        (("--scorer", "edges", "--at-least", "edges=1.1"), "No pair of 12 is kept: 12 edges below 1.1"),
        (("--scorer", "edges", "--thresholds", "none.yaml"), "There is no file of thresholds"),
        (
            ("--scorer", "edges", "--thresholds", "other.yaml"),
            "The threshold of edges was calibrated for sobel 1, and here it is scored by edges",
        ),
        (("--scorer", "edges", "--thresholds", "odd.yaml"), "has no numbers by the names of scores under at_least"),
        (("--scorer", "judge"), "The judge needs a model's name"),
        (("--scorer", "edges", "--at-least", "edges=0", "--most", "-1"), "--most is at least 0"),
        (("--scorer", "edges", "--at-least", "edges=0", "--device", "tpu"), "There is no device “tpu”"),
    ],
)
def test_what_can_not_be_used_is_one_sentence(options, why, scenes, tmp_path, capsys, monkeypatch):
    (tmp_path / "other.yaml").write_text("at_least: {edges: 0.5}\nscored_by: {edges: sobel 1}\n")
    (tmp_path / "odd.yaml").write_text("at_least: [1]\n")
    monkeypatch.chdir(tmp_path)
    status, out, (said,) = ran(capsys, "filter", scenes, "--output", tmp_path / "kept.parquet", *options)
    assert (status, out) == (2, "") and why in said
    assert not (tmp_path / "kept.parquet").exists()
