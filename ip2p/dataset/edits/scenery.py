"""What a photograph shows: foliage, and its surroundings without its subject."""

from __future__ import annotations

import numpy as np

from ...filters import Array, blur, hsv, mix, ramp, unit


def above_average(levels: Array, region: Array, reach: float) -> Array:
    """How much brighter than its surroundings within the region, (h, w)."""
    return (levels - blur(levels * region, reach) / (blur(region, reach) + 1e-3)) * region


def foliage_of(image: Array) -> Array:
    """How much of a leaf's or a lawn's green is here, (h, w) in [0, 1]."""
    hue, saturation, value = hsv(blur(image, unit(image)))
    green = ramp(hue, 48, 66) * (1 - ramp(hue, 150, 175))
    return blur(green * ramp(saturation, 0.1, 0.28) * ramp(value, 0.04, 0.14), 0.8 * unit(image))


def filled(image: Array, known: Array) -> Array:
    """The picture with what is not `known` (h, w) painted over from its surroundings, coarse to fine."""
    u = unit(image)
    out, weight = np.zeros_like(image), np.zeros_like(known)
    for sigma in (2, 6, 18, 54, 160):
        near = blur(known, sigma * u)
        share = ramp(near, 0.004, 0.06) * (1 - weight)
        out += blur(image * known[..., None], sigma * u) / (near[..., None] + 1e-6) * share[..., None]
        weight += share
    fill = (out + image * (1 - weight[..., None])).astype(np.float32)
    return mix(fill, image, ramp(known, 0.5, 1))


def without_subject(image: Array, mask: Array) -> Array:
    """The picture with its surroundings in the subject's place."""
    return filled(image, 1 - ramp(mask, 0.05, 0.4))


def clean_subject(image: Array, mask: Array) -> Array:
    """The subject's own colours carried over its soft edge, so that no rim of the old background stays."""
    inside = ramp(mask, 0.85, 0.98)
    near = blur(inside, 2.5 * unit(image))
    spread = blur(image * inside[..., None], 2.5 * unit(image)) / (near[..., None] + 1e-6)
    return mix(image, spread, (1 - inside) * ramp(near, 0.01, 0.1))
