"""How far apart two pictures are, which way a change goes, and how sure a mean is. Nothing here needs a trained network."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

SMALL = 64  # longest side in pixels of the pictures that `rms_small` compares
HIGHEST_PSNR = 100.0  # dB, given for equal pictures
RESAMPLES = 2000
FEWEST_GROUPS = 5  # photographs; of fewer a bootstrap says nothing


def pixels(image: Image.Image) -> torch.Tensor:
    """→ (3, h, w) in [0, 1]."""
    return rearrange(torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255), "h w c -> c h w")


def mask_weight(mask: Image.Image) -> torch.Tensor:
    """→ (h, w) in [0, 1], how much each pixel weighs inside the mask: 1 where it is white."""
    return torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)


def small(image: torch.Tensor) -> torch.Tensor:
    """image: (channels, h, w) → the same with a longest side of 64 px, by averaging areas; a smaller picture stays as it is."""
    scale = min(SMALL / max(image.shape[-2:]), 1.0)
    height, width = (max(round(side * scale), 1) for side in image.shape[-2:])
    return adaptive_avg_pool2d(image, (height, width))


def weighted(values: torch.Tensor, weight: torch.Tensor | None) -> float:
    """Mean of `values` (…, h, w), with `weight` (h, w) where it is given; not-a-number when nothing weighs."""
    if weight is None:
        return float(values.mean())
    total = float(weight.sum())
    return float((values.reshape(-1, *weight.shape).mean(0) * weight).sum()) / total if total > 0 else math.nan


def l1(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    """Mean absolute difference, in [0, 1]."""
    return weighted((a - b).abs(), weight)


def l2(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    """Mean squared difference, in [0, 1], which MagicBrush (Zhang et al., arXiv 2306.10012) calls L2."""
    return weighted((a - b).square(), weight)


def rms_small(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    """L2 distance of the pictures brought down to 64 px, as root mean square in [0, 1]: layout and colour without fine detail."""
    return math.sqrt(l2(small(a), small(b), None if weight is None else small(weight[None])[0]))


def psnr(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB, −10·log₁₀ of the mean squared difference; at most 100."""
    error = l2(a, b, weight)
    return min(-10 * math.log10(error), HIGHEST_PSNR) if error > 0 else HIGHEST_PSNR


def gradient_energy(image: torch.Tensor) -> float:
    """How much fine detail a picture has: the mean squared difference of neighbouring pixels, across and down. image: (3, h, w) in [0, 1]."""
    return float(sum(difference.square().mean() for difference in (image.diff(dim=-1), image.diff(dim=-2))))


def area_under_curve(levels: torch.Tensor, truth: torch.Tensor) -> float:
    """Of the receiver's operating characteristic: how likely a pixel within the true region has a higher level than one without, equal
    ones for a half. levels: (h, w); truth: (h, w), bool; not-a-number where it is all or nothing."""
    _, place, count = levels.flatten().unique(return_inverse=True, return_counts=True)
    ranks = (count.cumsum(0) - (count - 1) / 2)[place].double()
    inside = truth.flatten()
    n, others = int(inside.sum()), int((~inside).sum())
    return float((ranks[inside].sum() - n * (n + 1) / 2) / (n * others)) if n and others else math.nan


def overlap(region: torch.Tensor, truth: torch.Tensor) -> float:
    """Intersection over union of two regions, bool; not-a-number where both are empty."""
    union = int((region | truth).sum())
    return int((region & truth).sum()) / union if union else math.nan


def layers_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], weight: torch.Tensor | None = None) -> float:
    """LPIPS's form (Zhang et al., arXiv 1801.03924, eq. 1) without its learned weights: at every place of every layer the squared
    distance of the two feature vectors of length 1, averaged over places (by `weight`), then over layers; in [0, 4].

    a, b: layers (channels, h, w), already of length 1 over channels (`scorers.vectors.unit`).
    """
    distances = []
    for x, y in zip(a, b):
        difference = (x - y).square_()
        local = None if weight is None else adaptive_avg_pool2d(weight[None], (x.shape[-2], x.shape[-1]))[0].to(x)
        distances.append(weighted(difference, local) * len(difference))
    return sum(distances) / len(distances)


def progress(before: torch.Tensor, result: torch.Tensor, target: torch.Tensor) -> float:
    """How much of the way from `before` to `target` the result has gone, along it and at 64 px: 0 for `before`, 1 for `target`;
    not-a-number where they are equal."""
    whole_way, way_gone = (small(x - before).double().flatten() for x in (target, result))
    length = float(whole_way @ whole_way)
    return float(whole_way @ way_gone) / length if length > 0 else math.nan


class Interval(NamedTuple):
    """A mean and where it lies with 95 % confidence. n: values; all is not-a-number without any, low and high with too few groups."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def known(self) -> bool:
        """Whether it has bounds."""
        return math.isfinite(self.low)


def interval(values: Sequence[float] | np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0) -> Interval:
    """Mean and 95 % percentile bootstrap of 2000 resamples, without bounds below five groups; values that are not-a-number are left out.

    groups: what each value belongs to, such as its photograph: whole groups are drawn, because values within one are not
    independent. Of differences of pairs it is the paired bootstrap.
    """
    numbers = np.asarray(values, dtype=np.float64)
    names = np.arange(len(numbers)) if groups is None else np.asarray([str(group) for group in groups])
    finite = np.isfinite(numbers)
    numbers = numbers[finite]
    if not len(numbers):
        return Interval(math.nan, math.nan, math.nan, 0)
    _, group_of = np.unique(names[finite], return_inverse=True)
    sums, counts = np.bincount(group_of, numbers), np.bincount(group_of)
    if len(sums) < FEWEST_GROUPS:
        return Interval(float(numbers.mean()), math.nan, math.nan, len(numbers))
    draws = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(numbers.mean()), float(low), float(high), len(numbers))
