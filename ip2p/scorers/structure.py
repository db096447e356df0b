"""Whether a pair keeps its structure, by its two pictures alone: edges, which recolouring leaves where they are, and SSIM."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .pair_scorer import Judged, PairScorer, Scores

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
SIDE = 128  # px, at which edges are compared
TOLERANCE, SURROUNDINGS = 1.5, 16.0  # σ in px: how far an edge may be off, and what its strength is measured by
FLOOR = 0.05  # of a gradient, the range of a colour in a pixel: below it is noise


class Edges(PairScorer):
    """Cosine of both pictures' edges, in [−1, 1]: 1 where every edge lies where it was, about 0 where none does.

    Insensitive to colours, contrast and which side of an edge is brighter; sensitive to what moved, vanished or came.
    """

    name, scores = "edges", ("edges",)

    def score(self, pairs: Sequence[Judged]) -> list[Scores | str]:
        return [{"edges": edge_similarity(pair.original_image, pair.edited_image)} for pair in pairs]


class Ssim(PairScorer):
    """Structural similarity of both pictures in grey, in [−1, 1], at the size of the picture before."""

    name, scores = "SSIM", ("ssim",)

    def score(self, pairs: Sequence[Judged]) -> list[Scores | str]:
        def luma(picture: Image.Image, size: tuple[int, int]) -> np.ndarray:
            return np.asarray(picture.resize(size, Image.Resampling.BICUBIC), np.float32) / 255 @ LUMA

        sizes = [pair.original_image.size for pair in pairs]
        return [{"ssim": ssim(luma(pair.original_image, size), luma(pair.edited_image, size))} for pair, size in zip(pairs, sizes)]


def edge_similarity(before: Image.Image, after: Image.Image) -> float:
    """1 for two pictures without edges, 0 for one with and one without."""
    a, b = edge_field(before), edge_field(after)
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) < 1e-6:
        return float(max(lengths) < 1e-6)
    return float((a * b).sum(dtype=np.float64)) / (lengths[0] * lengths[1])


def edge_field(picture: Image.Image) -> np.ndarray:
    """→ (128, 128, 2): at each place the edge's direction, as an angle doubled so that both of its sides are one, as long as the edge is
    strong among its surroundings.

    The structure tensor over the colours (Di Zenzo, 1986), for which red beside green is an edge where both are equally bright.
    """
    levels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    x, y = (cv2.Scharr(levels, cv2.CV_32F, dx, 1 - dx, scale=1 / 16) for dx in (1, 0))
    xx, yy, xy = ((a * b).sum(-1) for a, b in ((x, x), (y, y), (x, y)))
    strength = cv2.GaussianBlur(xx + yy, (0, 0), SURROUNDINGS) + FLOOR**2
    field = cv2.GaussianBlur(np.stack([xx - yy, 2 * xy], -1), (0, 0), TOLERANCE) / strength[..., None]
    length = np.linalg.norm(field, axis=-1, keepdims=True)
    return field / np.sqrt(length + 1e-9)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity (Wang et al., 2004) of two lumas (H, W) in [0, 1]: 11x11 Gaussian window of σ 1.5, borders left out."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    values = (2 * mean_a * mean_b + 0.01**2) * (2 * cov + 0.03**2) / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))
    return float(values[5:-5, 5:-5].mean(dtype=np.float64))
