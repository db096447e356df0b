"""How well the region that an instruction means is found: measured, told, refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="the small checkpoint needs diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("cv2", reason="procedural edits need OpenCV (pip install -e '.[dataset]')")

from ip2p.__main__ import main
from ip2p.evaluation import metrics
from ip2p.evaluation.full_size import Photograph
from ip2p.region import Region

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


def disc_mask():
    y, x = np.mgrid[:96, :128]
    return ((y - 48) ** 2 + (x - 64) ** 2 < 26**2).astype(np.float32)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder with a disc before a green ground, which stands for a photograph whose subject a network has found."""
    y, x = np.mgrid[:96, :128]
    disc = ((y - 48) ** 2 + (x - 64) ** 2 < 26**2)[..., None]
    noise = np.random.default_rng(0).integers(0, 30, (96, 128, 3))
    pixels = np.where(disc, (200, 120, 90), (60, 130, 60)) + noise
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "disc.png")
    photograph = Photograph("disc.png", Image.open(folder / "disc.png").convert("RGB"), disc[..., 0].astype(np.float32), True)
    monkeypatch.setattr(Photograph, "read", classmethod(lambda cls, path, longest_side: photograph))
    return folder


def evaluate(folder, output, *more) -> int:
    argv = ["evaluate", "--model", "small", "--regions", folder, "--output", output, "--size", 128, "--steps", 2, *more]
    return main([*map(str, argv)])


def test_the_region_and_four_edits_are_measured_and_told(photographs, tmp_path, capsys):
    output = tmp_path / "out"
    assert evaluate(photographs, output, "--kinds", "subject_colour") == 0
    (line,) = [json.loads(line) for line in (output / "edits.jsonl").read_text().splitlines()]
    assert line["auc"] > 0.5 and line["iou"] > line["frame"] == pytest.approx(np.pi * 26**2 / (96 * 128), rel=0.01)
    assert line["region"]["outside"] > line["whole"]["outside"] + 6, "what the region leaves alone is the photograph"
    assert {"scoped", "even"} <= line.keys()
    table = (output / "regions.md").read_text()
    assert table in capsys.readouterr().out and "| subject_colour | 1 |" in table and "| all of the subject | 1 |" in table
    assert len(json.loads((output / "regions.json").read_text())) == 1


def test_a_subject_edited_by_itself_is_compared_with_one_within_the_picture(photographs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ip2p.editor.editor.Editor.finders", {"name": lambda edit: [Region.of(disc_mask(), "subject")]})
    monkeypatch.setattr("ip2p.evaluation.only_region.LARGEST", 0.5)
    output = tmp_path / "out"
    assert evaluate(photographs, output, "--edits", "only", "--kinds", "subject_colour", "--longest-side", 128) == 0
    (line,) = [json.loads(line) for line in (output / "edits.jsonl").read_text().splitlines()]
    assert line["share"] == pytest.approx(np.pi * 26**2 / (96 * 128), rel=0.01)
    assert line["region"]["inside"] != line["only"]["inside"] and 0 < line["only"]["seam"] < 3
    assert "| subject_colour | 1 | 0.17 |" in capsys.readouterr().out


def test_no_small_subject_is_a_sentence(photographs, tmp_path, capsys):
    assert evaluate(photographs, tmp_path / "out", "--edits", "only") == 2
    assert "has a subject of 5% to 15% that was found" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more, said",
    [
        (["--kinds", "sepia"], "no kind of edit “sepia” that has a region"),
        (["--edits", "true"], "With --regions --edits is one of none, region, scoped, only and both"),
        (["--full-size", "x"], "Name what to measure on"),
        (["--size", "64x96"], "the longest side of photographs and edits"),
    ],
)
def test_what_can_not_be_measured_is_a_sentence(photographs, tmp_path, capsys, more, said):
    assert evaluate(photographs, tmp_path / "out", *more) == 2 and said in capsys.readouterr().err


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    truth = torch.tensor([[True, False, True, False]])
    assert metrics.area_under_curve(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), truth) == 1
    assert metrics.area_under_curve(torch.tensor([[0.0, 1.0, 2.0, 1.0]]), truth) == 0.5
    assert metrics.area_under_curve(torch.full((1, 4), 0.3), truth) == 0.5
    assert metrics.overlap(truth, ~truth) == 0 and metrics.overlap(truth, truth) == 1
