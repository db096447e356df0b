"""Edits that lay the photograph in pieces: stones, squares, panes."""

from __future__ import annotations

import numpy as np
from einops import rearrange
from skimage.segmentation import find_boundaries, slic

from ...filters import Array, blur, contrasted, from_hsv, hsv, mix, ramp, saturated, unit


def mosaic(image: Array) -> Array:
    """Square stones in grey mortar, laid out from the middle of the picture."""
    u = unit(image)
    side = max(round(16 * u), 3)
    picture = contrasted(saturated(image, 1.3), 1.1)
    tiles = blocks(picture, side)
    y, x = tile_places(image.shape[:2], side)
    edge = np.minimum(np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x))
    tiles = tiles + (0.5 - y / side)[..., None] * 0.16
    return mix(tiles, np.array([0.80, 0.78, 0.74], np.float32), 1 - ramp(edge.astype(np.float32), -0.5, 2 * u))


def tile_places(size: tuple[int, int], side: int) -> tuple[Array, Array]:
    """Row and column within its tile for every pixel, (h, w) each; a corner of four tiles is in the middle of the picture."""
    row, column = np.meshgrid(*((np.arange(n) - n // 2) % side for n in size), indexing="ij")
    return row, column


def blocks(image: Array, side: int) -> Array:
    """Every tile in its mean colour."""
    h, w = image.shape[:2]
    before = [-(n // 2) % side for n in (h, w)]
    after = [-(n + b) % side for n, b in zip((h, w), before)]
    padded = np.pad(image, (*zip(before, after), (0, 0)), mode="edge")
    means = rearrange(padded, "(h down) (w across) c -> h down w across c", down=side, across=side).mean((1, 3))
    return means.repeat(side, 0).repeat(side, 1)[before[0] : before[0] + h, before[1] : before[1] + w]


def pixel_art(image: Array) -> Array:
    side = max(round(12 * unit(image)), 2)
    squares = blocks(contrasted(saturated(image, 1.5), 1.15, 0.45).clip(0, 1), side)
    return (squares * 5).round() / 5


def stained_glass(image: Array) -> Array:
    u = unit(image)
    labels, panes = cells_of(image, 24 * u, 16)
    hue, saturation, level = hsv(panes)
    glass = from_hsv(hue, 0.32 + 1.3 * saturation, 0.2 + 0.95 * level)
    return mix(glass, np.array([0.04, 0.04, 0.05], np.float32), joints(labels, 0.9 * u))


def cells_of(image: Array, size: float, compactness: float) -> tuple[Array, Array]:
    """Superpixels about `size` wide: labels (h, w), and every pixel's mean colour over its cell."""
    h, w = image.shape[:2]
    labels = slic(image, int(h * w / size**2), compactness, start_label=0, enforce_connectivity=True)
    count = np.bincount(labels.ravel())
    means = np.stack([np.bincount(labels.ravel(), c.ravel()) for c in np.moveaxis(image, 2, 0)], -1) / count[:, None]
    return labels, means[labels].astype(np.float32)


def joints(labels: Array, width: float) -> Array:
    """Lines between cells, (h, w) in [0, 1]."""
    lines = find_boundaries(labels, mode="inner").astype(np.float32)
    return ramp(blur(lines, width), 0.15, 0.45)
