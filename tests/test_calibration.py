"""`dataset calibrate`: thresholds that keep the most at a wanted share of right pairs, and what is told of them on pairs held out."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")

from filter_cases import ColourWords, moved, scene_pair, scene_set
from ip2p.dataset.filtering.calibration import ALL, Asked, calibrated
from ip2p.dataset.filtering.calibration_lines import WIDTH, lines_of
from ip2p.dataset.filtering.search import best_thresholds, measured, reaching
from ip2p.dataset.filtering.thresholds import read_thresholds
from ip2p.dataset.filtering.wrong_pairs import RIGHT, alike, made_of
from ip2p.scorers.similarities import Similarities
from ip2p.scorers.structure import Edges
from test_cli_dataset import ran

pytestmark = pytest.mark.usefixtures("own_cache")
EXAMPLES = Path(__file__).resolve().parents[1] / "ip2p" / "examples"
MADE = {RIGHT, "unchanged", "shifted", "mirrored", "zoomed", "another row's picture", "another row's edit"}


def scores_like(seed: int, count: int = 400):
    """Two scores: right ones are higher in both, and wrong ones in one of them."""
    rng = np.random.default_rng(seed)
    right = rng.random(count) < 0.5
    scores = rng.normal(0, 1, (count, 2)) + 2 * right[:, None]
    fooled = rng.integers(2, size=count)
    scores[np.arange(count), fooled] += np.where(right, 0, 2)
    return scores, right


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_keep_nearly_as_many_right_pairs_as_the_best_of_all_at_the_wanted_share(seed):
    scores, right = scores_like(seed)
    weight = np.ones(len(right))
    kept = measured(reaching(scores, best_thresholds(scores, right, weight, 0.9)), right, weight)
    grids = [np.quantile(scores[:, c], np.linspace(0, 1, 60)) for c in range(2)]
    every = [measured(reaching(scores, np.array(pair)), right, weight) for pair in itertools.product(*grids)]
    best = max(one.of_right for one in every if one.right >= 0.9)
    assert kept.right >= 0.9 and kept.of_right >= best - 0.03


def test_a_score_that_says_nothing_is_left_open_and_one_alone_that_is_not_enough_gives_its_best():
    scores, right = scores_like(5)
    noise = np.random.default_rng(0).normal(0, 1, len(right))
    weight = np.ones(len(right))
    thresholds = best_thresholds(np.column_stack([scores, noise]), right, weight, 0.85)
    with_noise, without = (
        measured(reaching(s, t), right, weight) for s, t in ((np.column_stack([scores, noise]), thresholds), (scores, thresholds[:2]))
    )
    assert without.right >= 0.8 and with_noise.kept > 0.8 * without.kept
    alone = measured(reaching(noise[:, None], best_thresholds(noise[:, None], right, weight, 0.99)), right, weight)
    assert alone.right < 0.99 and alone.kept > 0


def test_wrong_pairs_are_made_of_right_ones_and_none_that_would_be_right():
    pairs = [scene_pair(i) for i in range(30)]
    kinds = set()
    for n, pair in enumerate(pairs):
        made = list(made_of(pairs, n, 0))
        assert made[0].pair is pair
        kinds |= {one.kind for one in made}
        for one in made[1:]:
            assert not alike(one.pair.edited_image, pair.edited_image) or not alike(one.pair.original_image, pair.original_image)
            assert one.pair.edited_image.size == pair.edited_image.size
            assert (one.pair.edit_prompts, one.pair.edited_prompt) == (pair.edit_prompts, pair.edited_prompt)
    assert kinds == MADE
    assert [one.pair.edited_image.tobytes() for one in made_of(pairs, 3, 0)] == [
        one.pair.edited_image.tobytes() for one in made_of(pairs, 3, 0)
    ]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return scene_set(tmp_path_factory.mktemp("scenes") / "scenes.parquet", [scene_pair(i) for i in range(60)])


@pytest.fixture(scope="module")
def on_scenes(scenes):
    return calibrated(scenes, [Similarities(ColourWords()), Edges()], Asked(0.9, 0.5, 60, 0))


def test_what_words_do_not_see_structure_does(on_scenes):
    """A scorer of what is in a picture, and not where, passes a shape that moved; with edges it does not."""
    words, both = on_scenes.by["colour words"], on_scenes.together
    assert set(both.passed) == MADE and on_scenes.before == pytest.approx(0.5)
    assert words.passed["mirrored"] > 0.2 > both.passed["mirrored"]
    assert both.kept.right > 0.95 and both.kept.of_right > words.kept.of_right + 0.1
    assert both.passed["unchanged"] == 0 and both.passed["another row's edit"] < 0.1
    assert 0 < both.at_least["edges"] <= 1


def test_lines_tell_of_each_scorer_alone_and_of_all(on_scenes):
    lines = lines_of(on_scenes)
    told = {line[:WIDTH].strip(): line[WIDTH:].split() for line in lines if line.startswith("  ")}
    assert told["before"] == ["0.500", "1.000", "1.000"]
    assert {"by colour words alone", "by edges alone", "by all together"} <= set(told)
    assert float(told["by all together"][0]) == pytest.approx(on_scenes.by[ALL].kept.right, abs=5e-4)
    assert float(told["mirrored"][-1]) == pytest.approx(on_scenes.by[ALL].passed["mirrored"], abs=5e-4)


def test_the_truth_that_a_set_brings_is_taken_and_a_rows_samples_are_in_one_half(tmp_path):
    pairs = []
    for i in range(80):
        pair = scene_pair(i // 4)
        right = i % 4 < 2
        pairs.append(
            replace(
                pair,
                edited_image=pair.edited_image if right else moved(pair.edited_image, 6 + i % 4),
                scores={"right": float(right)},
                extra={"id": f"row{i // 4}", "sample": i % 4},
            )
        )
    known = scene_set(tmp_path / "set.parquet", pairs)
    found = calibrated(known, [Edges()], Asked(0.9, 0.2, 80, 0))
    assert set(found.by) == {ALL} and set(found.together.passed) == {RIGHT, "wrong"}
    assert sum(found.counts.values()) == 40 and found.before == pytest.approx(0.5)
    assert found.together.kept.right > 0.9 and found.together.passed[RIGHT] == 1 and found.together.passed["wrong"] < 0.1


def test_the_command_writes_thresholds_that_the_filter_takes(scenes, tmp_path, capsys):
    file, source = tmp_path / "thresholds.yaml", scenes.source.files[0]
    command = ("calibrate", source, "--scorer", "edges", "--right", 0.6, "--count", 16, "--output", file)
    status, out, err = ran(capsys, *command)
    assert status == 0 and not err and "by all together" in out and "shifted" in out
    content = yaml.safe_load(file.read_text())
    assert content["scored_by"] == {"edges": "edges"} and content["calibrated"]["on"] == "scenes.parquet"
    assert read_thresholds(file).at_least == content["at_least"]
    status, out, _ = ran(
        capsys,
        "filter",
        source,
        "--scorer",
        "edges",
        "--thresholds",
        file,
        "--output",
        tmp_path / "kept.parquet",
        "--scores",
        tmp_path / "s",
    )
    assert status == 0 and "of 60 pairs" in out


def test_a_share_that_can_not_be_had_is_said(scenes, tmp_path, capsys):
    status, out, (said,) = ran(
        capsys, "calibrate", scenes.source.files[0], "--scorer", "ssim", "--right", 0.99, "--count", 24, "--output", tmp_path / "t.yaml"
    )
    assert status == 0 and "are right, fewer than 99.0%" in said and "Wrote" in out


@pytest.mark.parametrize(
    "options, why",
    [
        (("--scorer", "none"), "Name what scores by --scorer"),
        (("--scorer", "edges", "--right", 1), "--right is a share between 0 and 1"),
        (("--scorer", "edges", "--count", 1), "--count is at least 4"),
        (("--scorer", "edges", "--output", "t.txt"), "The thresholds are a .yaml file"),
    ],
)
def test_what_can_not_be_used_is_one_sentence(options, why, scenes, tmp_path, capsys):
    status, out, (said,) = ran(capsys, "calibrate", scenes.source.files[0], "--output", tmp_path / "t.yaml", *options)
    assert (status, out) == (2, "") and said.startswith(why) and not (tmp_path / "t.yaml").exists()


def test_edits_of_real_photographs_are_told_from_those_that_moved(tmp_path, capsys):
    status, *_ = ran(
        capsys, "photos", EXAMPLES, "--output", tmp_path / "set.parquet", "--size", 64, "--held-out", 0, "--kinds", "sepia,night"
    )
    assert status == 0
    status, out, _ = ran(
        capsys, "calibrate", tmp_path / "set.parquet", "--scorer", "edges", "--right", 0.55, "--output", tmp_path / "t.yaml"
    )
    passed = {line.split()[0]: float(line.split()[-1]) for line in out.splitlines() if line.startswith("  ") and line.split()[0] in MADE}
    assert status == 0 and passed["right"] == 1 and passed["shifted"] == passed["zoomed"] == 0
