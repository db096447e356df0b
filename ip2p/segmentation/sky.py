"""Where a photograph shows the sky, by its colour, its smoothness and its place: a rule, no network."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..filters import Array, blur, guided, hsv, light, ramp, slopes, unit


def sky_of(image: Array) -> Array:
    """Where the sky is, (h, w) in [0, 1]: bright, smooth, blue or colourless, and joined to the upper edge. All 0 without one."""
    u = unit(image)
    levels = light(image)
    hue, saturation, value = hsv(blur(image, 1.5 * u))
    rough = blur(np.hypot(*slopes(blur(levels, 0.8 * u))), 2 * u) * u
    blue = (hue > 180) & (hue < 265) & (saturation > 0.12) & (value > 0.3)
    pale = (saturation < 0.2) & (value > 0.55)
    maybe = ((blue & (rough < 0.035)) | (pale & (rough < 0.02))).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(round(5 * u) | 1, 3),) * 2)
    count, labels = cv2.connectedComponents(cv2.morphologyEx(maybe, cv2.MORPH_OPEN, kernel))
    top = np.bincount(labels[: max(round(3 * u), 1)].ravel(), minlength=count) > 12 * u
    top[0] = False
    sky = top[labels].astype(np.float32)
    if sky.mean() < 0.06:
        return np.zeros_like(levels)
    sky = cv2.dilate(cv2.morphologyEx(sky, cv2.MORPH_CLOSE, kernel), kernel)  # roughness ends it before the outline does
    return ramp(guided(levels, sky, 6 * u, 1e-3), 0.25, 0.75)


class SkyRule:
    """The provider of the region “sky”."""

    names: Sequence[str] = ("sky",)

    def missing(self, name: str) -> str:
        return ""

    def masks(self, image: Array, name: str) -> list[Array]:
        sky = sky_of(image)
        return [sky] if sky.any() else []
