"""Edits of the subject. mask: (h, w) in [0, 1], 1 is the subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...filters import Array, Colour, blur, contrasted, flattened, height, light, mix, ramp, saturated, stretched, toned, unit
from .scenery import filled
from .tone import black_and_white


def subject_colour(image: Array, mask: Array, colour: Colour) -> Array:
    """Painted: the colour's hue, the subject's own light and shade."""
    levels = stretched(light(image), mask)
    paint = np.array(colour, np.float32)
    painted = toned(0.08 + 0.84 * levels, tuple(paint * 0.12), tuple(paint * 0.62), tuple(paint), tuple(paint * 0.55 + 0.45))
    return mix(painted, saturated(image, 0.5), 0.1)


def subject_stone(image: Array, mask: Array) -> Array:
    form = shading(image, mask, 1.1)
    return toned(form, (0.12, 0.12, 0.12), (0.46, 0.45, 0.43), (0.78, 0.77, 0.73)) + grain(image)[..., None] * 0.10


def subject_marble(image: Array, mask: Array) -> Array:
    """White and polished; slanting grey veins, bent by the picture's own brightness."""
    u = unit(image)
    form = shading(image, mask, 0.85)
    h, w = image.shape[:2]
    slant = np.arange(w, dtype=np.float32)[None] * 0.8 + np.arange(h, dtype=np.float32)[:, None]
    fold = (slant / (62 * u) + 1.7 * blur(light(image), 9 * u)) % 1
    vein = np.exp(-(((fold - 0.45) / 0.035) ** 2)) + 0.4 * np.exp(-(((fold - 0.72) / 0.11) ** 2))
    return toned(form * 1.08, (0.34, 0.35, 0.39), (0.80, 0.81, 0.83), (1.0, 1.0, 0.985)) * (1 - 0.27 * vein.clip(0, 1)[..., None])


def subject_wood(image: Array, mask: Array) -> Array:
    """Carved: year rings follow the softened brightness."""
    u = unit(image)
    form = shading(image, mask)
    w = image.shape[1]
    across = np.abs(np.arange(w, dtype=np.float32) - (w - 1) / 2)[None] / (20 * u)
    rings = (across + 0.9 * height(image) + 3.2 * blur(light(image), 8 * u)) % 1
    rings = blur(rings**1.6, 0.8 * u)
    wood = toned(form, (0.16, 0.07, 0.02), (0.56, 0.32, 0.14), (0.93, 0.70, 0.42))
    return wood * (1.10 - 0.34 * rings)[..., None]


def subject_metal(image: Array, mask: Array, metal: Sequence[Colour]) -> Array:
    """Polished: brightness folded as reflections fold it."""
    form = shading(image, mask, 1.25)
    shine = 0.5 - 0.5 * np.cos(2 * np.pi * (form * 1.45 + 0.05))
    return toned(contrasted(0.4 * form + 0.6 * shine * (0.4 + 0.6 * form) + 0.12, 1.35).clip(0, 1), *metal)


def subject_ice(image: Array, mask: Array) -> Array:
    form = shading(image, mask, 1.2)
    rim = 1 - ramp(blur(mask, 3.5 * unit(image)), 0.5, 0.98)
    clear = toned(form, (0.10, 0.36, 0.62), (0.48, 0.78, 0.92), (0.93, 0.99, 1.0))
    back = filled(image, 1 - ramp(mask, 0.02, 0.3))
    return mix(mix(clear, back, 0.16), np.array([0.94, 0.99, 1.0], np.float32), 0.65 * rim)


def subject_silhouette(image: Array, mask: Array) -> Array:
    return np.full_like(image, 0.02)


def subject_grey(image: Array, mask: Array) -> Array:
    return black_and_white(image)


def shading(image: Array, mask: Array, relief: float = 1.0) -> Array:
    """The subject's brightness without its own colours' share, about [0, 1]: what a statue of it would show."""
    u = unit(image)
    levels = light(flattened(image, 1, 0.06, 3))
    around = filled(levels[..., None].repeat(3, 2), ramp(mask, 0.5, 0.9))[..., 0]
    local = around - blur(around, 14 * u)
    spread = np.sqrt(blur(local * local, 20 * u)) + 0.05
    form = 0.5 + 0.24 * relief * local / spread
    edge = ramp(blur(mask, 5 * u), 0.35, 0.95)
    return (form * 0.75 + 0.25 * stretched(blur(levels, 4 * u), mask) - 0.22 * (1 - edge)).clip(0, 1)


def grain(image: Array) -> Array:
    """The picture's own finest detail, evened out, as the roughness of stone: about [-1, 1]."""
    u = unit(image)
    levels = light(image)
    fine = levels - blur(levels, 1.3 * u)
    return (fine / (np.sqrt(blur(fine * fine, 8 * u)) + 0.006)).clip(-2, 2) / 2
