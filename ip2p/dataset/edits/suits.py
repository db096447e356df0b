"""Which photographs an edit makes sense for. image: (h, w, 3) in [0, 1]; mask: (h, w) in [0, 1], 1 is the subject."""

from __future__ import annotations

import numpy as np

from ...filters import Array, light
from ...segmentation.sky import sky_of
from .scenery import foliage_of


def any_photo(image: Array, mask: Array) -> bool:
    return True


def colourful(image: Array, mask: Array) -> bool:
    return mean_chroma(image, np.ones_like(mask)) > 0.06


def colourful_parts(image: Array, mask: Array) -> bool:
    """Subject and background both: else taking the colour of one is taking it of all, or of nothing."""
    return min(mean_chroma(image, mask), mean_chroma(image, 1 - mask)) > 0.09


def mean_chroma(image: Array, region: Array) -> float:
    """Mean distance between a pixel's largest and smallest channel where the region is."""
    return float((np.ptp(image, 2) * region).sum() / max(region.sum(), 1))


def not_dark(image: Array, mask: Array) -> bool:
    return float(light(image).mean()) > 0.28


def not_bright(image: Array, mask: Array) -> bool:
    return float(light(image).mean()) < 0.66


def under_sky(image: Array, mask: Array) -> bool:
    """Not a studio's white, which is the same all over."""
    sky = sky_of(image) > 0.5
    return float(sky.mean()) > 0.12 and float(light(image)[sky].std()) > 0.012


def leafy(image: Array, mask: Array) -> bool:
    return float(foliage_of(image).mean()) > 0.08
