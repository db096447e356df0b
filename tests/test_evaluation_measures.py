"""The measures of an evaluation against values computed by hand, and their intervals."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import scene
from ip2p.dataset.pairs import Pair
from ip2p.evaluation import metrics, procedural, report, summary, sweep
from ip2p.evaluation.procedural import curve
from ip2p.evaluation.sweep import Setting
from ip2p.scorers.vectors import directional_similarity


def flat(*levels, size=(4, 4)):
    return torch.tensor(levels)[:, None, None].expand(len(levels), *size)


def test_pixel_distances_are_what_they_are_by_hand():
    a, b = flat(0.0, 0.5, 1.0), flat(0.5, 0.5, 0.5)
    assert metrics.l1(a, b) == pytest.approx(1 / 3)
    assert metrics.l2(a, b) == pytest.approx(0.5 / 3)
    assert metrics.rms_small(a, b) == pytest.approx(math.sqrt(0.5 / 3))
    assert metrics.psnr(a, b) == pytest.approx(-10 * math.log10(0.5 / 3))
    assert metrics.psnr(a, a) == 100


def test_a_mask_weighs_its_own_pixels_alone():
    a, b, weight = torch.zeros(3, 4, 4), torch.zeros(3, 4, 4), torch.zeros(4, 4)
    b[:, :2], weight[:2] = 0.25, 1
    assert metrics.l1(a, b, weight) == pytest.approx(0.25) and metrics.l1(a, b, 1 - weight) == 0
    assert metrics.rms_small(a, b, weight) == pytest.approx(0.25)
    assert math.isnan(metrics.l1(a, b, torch.zeros(4, 4)))


def test_the_small_picture_is_the_mean_of_its_areas():
    image = torch.zeros(3, 128, 64)
    image[:, ::2] = 1
    assert metrics.small(image).shape == (3, 64, 32) and torch.allclose(metrics.small(image), torch.tensor(0.5))
    assert metrics.small(torch.zeros(1, 5, 3)).shape == (1, 5, 3)


def test_the_layers_distance_is_lpips_without_weights():
    east, north = torch.tensor([1.0, 0.0])[:, None, None], torch.tensor([0.0, 1.0])[:, None, None]
    assert metrics.layers_distance([east, east], [north, east]) == pytest.approx(1)  # (2 + 0) / 2 layers
    half = torch.cat([east, east], -1), torch.cat([east, north], -1)
    assert metrics.layers_distance([half[0]], [half[1]]) == pytest.approx(1)
    assert metrics.layers_distance([half[0]], [half[1]], torch.tensor([[1.0, 0.0]])) == 0


def test_directional_similarity_is_the_cosine_of_the_two_changes():
    before, after = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert directional_similarity(before, after, before, after) == pytest.approx(1)
    assert directional_similarity(before, after, after, before) == pytest.approx(-1)
    assert directional_similarity(before, after, before, torch.tensor([1.0, 1.0])) == pytest.approx(math.sqrt(0.5))
    assert directional_similarity(before, before + 1e-7, before, after) == 0, "an untouched picture goes nowhere"


def test_progress_is_the_share_of_the_way():
    before, target = flat(0.0, 0.0, 0.0), flat(0.4, 0.0, 0.0)
    assert metrics.progress(before, flat(0.1, 0.7, 0.0), target) == pytest.approx(0.25), "what is aside of the way does not count"
    assert metrics.progress(before, before, target) == 0 and metrics.progress(before, target, target) == pytest.approx(1)
    assert math.isnan(metrics.progress(before, target, before))


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(1)
    held = [found.low <= 0 <= found.high for found in (metrics.interval(draw.normal(size=60)) for _ in range(150))]
    assert 0.88 <= np.mean(held) <= 0.99


def test_what_belongs_together_is_drawn_together():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 20)
    alone, together = metrics.interval(values), metrics.interval(values, np.repeat(np.arange(12), 20))
    assert together.mean == pytest.approx(alone.mean) and together.n == 240
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert metrics.interval([1.0, math.nan])[::3] == (1, 1) and metrics.interval([]).n == 0


def test_below_five_photographs_there_is_no_interval_and_no_star():
    """However many edits each of them has."""
    few, enough = (metrics.interval([1.0] * 4 * n, [f"photo {i % n}" for i in range(4 * n)]) for n in (4, 5))
    assert (few.mean, few.n, few.known, summary.sure(few)) == (1, 16, False, False)
    assert (enough.low, enough.high, enough.known, summary.sure(enough)) == (1, 1, True, True)
    assert summary.difference_text(few) == "+1.000 " and summary.difference_text(enough) == "+1.000 [+1.000, +1.000]*"
    assert procedural.share(few) == "1.000" and "nan" not in report.cell(few, True) and "sure" not in report.cell(few, True)


def test_an_interval_over_photographs_is_the_same_in_every_process():
    """Bootstrapped by place, and so of photographs in an order."""
    names = [f"photo {i}" for i in range(12)]
    lines = [
        {"group": name, "image_scale": scale, "text_scale": 7.5, "row": i, "rms_input": i * i * scale}
        for scale in (1.0, 2.0)
        for i, name in enumerate(names)
    ]
    found = curve(lines, "image_scale", {})["change"]["rms_input"]["last_minus_first"]
    assert found == metrics.interval([float(names.index(name)) ** 2 for name in sorted(names)])


def test_settings_of_one_model_are_compared_with_its_first():
    def line(row, scale, value):
        common = {"maker": "m", "text_scale": 7.5, "strength": 1.0, "row": row, "group": str(row)}
        return {**common, "image_scale": scale, "l1_input": value}

    lines = [line(row, scale, row + scale) for scale in (1.5, 1.2) for row in range(4)] + [line(9, 1.2, 100.0)]
    [found] = summary.comparisons(lines)
    assert (found.one, found.other, found.n) == (Setting("m", 7.5, 1.2), Setting("m", 7.5, 1.5), 4)
    assert found.differences["l1_input"].mean == pytest.approx(-0.3), "only pairs that both have"


def test_a_result_that_is_nearer_to_the_target_by_rounding_alone_is_not_nearer():
    """Equal pictures measured in batches of other sizes differ in their last digits."""
    before, target = scene("navy", "white"), scene("darkgreen", "white")
    bench = sweep.Bench([Pair(before, target, ("make it green",))], {"longest_side": 64}, None, None)
    one_level = before.copy()
    red, green, blue = one_level.getpixel((0, 0))
    one_level.putpixel((0, 0), (red, green + 1, blue))
    measured = bench.measure([0, 0, 0], [before, one_level, Image.blend(before, target, 0.1)])
    assert measured[1]["rms_target"] < measured[0]["rms_target"], "it is nearer"
    assert [line["nearer_rms"] for line in measured] == [0, 0, 1]
