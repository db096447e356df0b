"""Results at the photograph's own size against the true edit there: measured, continued, refused."""

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

pytest.importorskip("diffusers", reason="the small checkpoint needs diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("cv2", reason="procedural edits need OpenCV (pip install -e '.[dataset]')")

from ip2p.__main__ import main
from ip2p.cli import evaluate as cli
from ip2p.errors import EditError
from ip2p.evaluation import full_size
from ip2p.evaluation.full_size import Measures, gradient_similarity
from ip2p.scorers.structure import ssim

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    with Image.open(ROOT / "ip2p" / "examples" / "chelsea.jpg") as image:
        image.convert("RGB").resize((450, 293)).save(folder / "cat.png")
    return folder


def evaluate(photographs, output, *more) -> int:
    """As the command line, small throughout."""
    argv = ["--model", "small", "--full-size", photographs, "--output", output, "--size", 64, "--steps", 2, "--longest-side", 192, *more]
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return full_size.evaluate_full_size(replace(cli.full_size_options(parser.parse_args([*map(str, argv)])), true_size=64))


def lines_in(output) -> list[dict]:
    return [json.loads(line) for line in (output / "edits.jsonl").read_text().splitlines()]


def test_both_results_are_measured_by_kind_and_the_run_continues(photographs, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    assert evaluate(photographs, output, "--kinds", "sepia,oil") == 0
    assert [(line["edit"], line["kind"]) for line in lines_in(output)] == [
        ("true", "oil"),
        ("model", "oil"),
        ("true", "sepia"),
        ("model", "sepia"),
    ]
    true, own = json.loads((output / "full_size.json").read_text())
    assert (true["edit"], true["size"], own["edit"], own["size"]) == ("true", 64, "model", 64)
    assert true["kinds"]["sepia"]["full"]["ssim"] > true["kinds"]["sepia"]["enlarged"]["ssim"] + 0.05
    assert 0 <= own["kinds"]["sepia"]["nearer"] <= 1 and "nearer" not in true["kinds"]["sepia"]
    table = capsys.readouterr().out
    assert "| sepia | 1 |" in table and "| kinds that keep structure | 1 |" in table and (output / "full_size.md").read_text() in table

    with open(output / "edits.jsonl", "ab") as file:
        file.write(b'{"model": "small", "edit')  # a run that was killed
    monkeypatch.setattr(full_size.Editor, "load", lambda *_: pytest.fail("everything is there already"))
    assert evaluate(photographs, output, "--kinds", "sepia,oil") == 0
    assert len(lines_in(output)) == 4 and capsys.readouterr().out == table


def test_a_share_of_the_kinds_is_dealt_so_that_all_get_as_many_photographs(photographs, tmp_path):
    for name in ("b", "c"):
        (photographs / f"{name}.png").write_bytes((photographs / "cat.png").read_bytes())
    assert evaluate(photographs, tmp_path / "out", "--kinds", "sepia,warmer,colder", "--per-photo", 2, "--edits", "true") == 0
    lines = lines_in(tmp_path / "out")
    assert Counter(line["kind"] for line in lines) == {"sepia": 2, "warmer": 2, "colder": 2}
    assert Counter(line["photograph"] for line in lines) == {"b.png": 2, "c.png": 2, "cat.png": 2}


def test_other_settings_are_another_run(photographs, tmp_path):
    output = tmp_path / "out"
    assert evaluate(photographs, output, "--kinds", "sepia", "--edits", "true") == 0
    with pytest.raises(EditError, match="longest_side"):
        evaluate(photographs, output, "--kinds", "sepia", "--edits", "true", "--longest-side", 160)
    assert evaluate(photographs, output, "--kinds", "sepia", "--edits", "true", "--longest-side", 160, "--force") == 0
    assert len(lines_in(output)) == 1


def test_a_photograph_that_can_t_be_read_is_said_and_passed_over(photographs, tmp_path, capsys):
    whole = (photographs / "cat.png").read_bytes()
    (photographs / "a broken one.png").write_bytes(whole[: len(whole) // 2])
    assert evaluate(photographs, tmp_path / "out", "--kinds", "sepia", "--edits", "true") == 1
    assert "a broken one.png" in capsys.readouterr().err
    assert [line["photograph"] for line in lines_in(tmp_path / "out")] == ["cat.png"]


@pytest.mark.parametrize(
    "more, said",
    [
        (["--data", "pairs.parquet"], "Name what to measure on"),
        (["--kinds", "sepia,hats"], "no kind of edit “hats”"),
        (["--size", "64x32"], "longest side"),
        (["--text-scale", "2,3"], "one text scale"),
        (["--longest-side", "8"], "at least 64"),
        (["--per-photo", "0"], "at least 1"),
        (["--full-size", "nowhere"], "nowhere"),
    ],
)
def test_what_can_t_be_measured_is_a_sentence(more, said, photographs, tmp_path, capsys):
    argv = ["--model", "small", "--full-size", photographs, "--output", tmp_path / "out", *more]
    assert main(["evaluate", *map(str, argv)]) == 2
    assert said in capsys.readouterr().err


def test_options_of_full_size_are_not_ignored_without_it(tmp_path, capsys):
    assert main(["evaluate", "--model", "small", "--data", "x", "--kinds", "sepia", "--output", str(tmp_path / "out")]) == 2
    assert "--kinds goes with --full-size" in capsys.readouterr().err
    assert main(["evaluate", "--model", "small", "--output", str(tmp_path / "out")]) == 2
    assert "--data PAIRS" in capsys.readouterr().err


def test_the_measures_rank_a_blur_below_the_truth():
    with Image.open(ROOT / "ip2p" / "examples" / "chelsea.jpg") as image:
        truth = image.convert("RGB").resize((300, 200))
    measures = Measures(truth, None)
    same, little, much = (measures(truth.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 3))
    assert same["psnr"] == 100 and same["ssim"] == pytest.approx(1) and same["gradient"] == pytest.approx(1)
    for name in ("psnr", "ssim", "gradient"):
        assert same[name] > little[name] > much[name]


def test_structural_similarity_is_the_usual_one():
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    a = rng.random((60, 80), np.float32)
    b = (a + rng.normal(0, 0.2, a.shape)).clip(0, 1).astype(np.float32)
    usual = metrics.structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert ssim(a, b) == pytest.approx(usual, abs=1e-4)
    assert gradient_similarity(a, b) < gradient_similarity(a, a) == pytest.approx(1)
