"""Filters on pictures as arrays: blurs, ramps, colours, outlines, of which procedural edits and masks are made.

image: (h, w, 3) float32 in [0, 1]. Lengths are in `unit`s, so that an edit looks the same at any size.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

Array = np.ndarray
Colour = tuple[float, float, float]  # red, green, blue in [0, 1]


def unit(image: Array) -> float:
    """A pixel of a picture whose shorter side is 256."""
    return min(image.shape[:2]) / 256


def light(image: Array) -> Array:
    """Luma of Rec. 601, (h, w)."""
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def blur(x: Array, sigma: float) -> Array:
    """Gaussian; a wide one at a smaller size, which looks the same."""
    small = int(sigma / 4)
    if small > 1:
        h, w = x.shape[:2]
        less = cv2.resize(x, (max(w // small, 1), max(h // small, 1)), interpolation=cv2.INTER_AREA)
        return cv2.resize(cv2.GaussianBlur(less, (0, 0), sigma / small, borderType=cv2.BORDER_REPLICATE), (w, h))
    return cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def ramp(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, share: Array | float) -> Array:
    """From `a` to `b`. share: of `b`, a number or (h, w)."""
    share = share[..., None] if isinstance(share, np.ndarray) and share.ndim == 2 else share
    return a + (b - a) * share


def saturated(image: Array, factor: float) -> Array:
    return mix(light(image)[..., None], image, factor)


def contrasted(image: Array, factor: float, around: float = 0.5) -> Array:
    return (image - around) * factor + around


def toned(levels: Array, *colours: tuple[float, float, float]) -> Array:
    """levels: (h, w) → (h, w, 3), the colours at equal steps from 0 to 1, linear between."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(levels, stops, channel) for channel in zip(*colours)], -1).astype(np.float32)


def stretched(levels: Array, weight: Array | None = None) -> Array:
    """Percentiles 2 and 98 (where weight > 0.5) moved to 0 and 1."""
    inside = levels if weight is None or (weight > 0.5).sum() < 16 else levels[weight > 0.5]
    low, high = np.percentile(inside, (2, 98))
    return ((levels - low) / max(high - low, 0.08)).clip(0, 1).astype(np.float32)


def height(image: Array) -> Array:
    """0 at the top row, 1 at the bottom, (h, w)."""
    h, w = image.shape[:2]
    return np.repeat(np.linspace(0, 1, h, dtype=np.float32)[:, None], w, 1)


def hsv(image: Array) -> tuple[Array, Array, Array]:
    """Hue in degrees, saturation and value in [0, 1]."""
    hue, saturation, value = cv2.split(cv2.cvtColor(np.ascontiguousarray(image.clip(0, 1), np.float32), cv2.COLOR_RGB2HSV))
    return hue, saturation, value


def from_hsv(hue: Array, saturation: Array, value: Array) -> Array:
    parts = (hue % 360, saturation.clip(0, 1), value.clip(0, 1))
    return cv2.cvtColor(cv2.merge([part.astype(np.float32) for part in parts]), cv2.COLOR_HSV2RGB)


def guided(guide: Array, x: Array, radius: float, eps: float) -> Array:
    """x: (h, w) smoothed along the edges of `guide` (He et al., Guided Image Filtering, 2010)."""
    size = (2 * max(round(radius), 1) + 1,) * 2
    mean = partial(cv2.blur, ksize=size, borderType=cv2.BORDER_REFLECT)
    m_g, m_x = mean(guide), mean(x)
    a = (mean(guide * x) - m_g * m_x) / (mean(guide * guide) - m_g * m_g + eps)
    return (mean(a) * guide + mean(m_x - a * m_g)).clip(0, 1)


def flattened(image: Array, times: int, sigma: float = 0.1, reach: float = 5) -> Array:
    """Surfaces smoothed, edges kept: a bilateral filter, several times."""
    out: Array = np.ascontiguousarray(image, np.float32)
    for _ in range(times):
        out = cv2.bilateralFilter(out, -1, sigma, reach * unit(image))
    return out


def slopes(levels: Array) -> tuple[Array, Array]:
    """Derivatives to the right and downwards."""
    return cv2.Scharr(levels, -1, 1, 0) / 32, cv2.Scharr(levels, -1, 0, 1) / 32


def outlines(image: Array, fine: float = 1.2) -> Array:
    """How strongly an edge runs here, about [0, 1], lines some three units wide."""
    u = unit(image)
    smooth = flattened(image, 2, 0.12, 4)
    strength = np.max([np.hypot(*slopes(blur(np.ascontiguousarray(c), fine * u))) for c in np.moveaxis(smooth, 2, 0)], 0) * u
    return (strength / max(np.percentile(strength, 97), 0.02)).clip(0, 1.2)
