"""Edits of tone and colour."""

from __future__ import annotations

import cv2
import numpy as np

from ...filters import Array, Colour, blur, contrasted, from_hsv, hsv, light, ramp, saturated, stretched, toned, unit


def black_and_white(image: Array) -> Array:
    return contrasted(toned(light(image), (0, 0, 0), (1, 1, 1)), 1.1)


def sepia(image: Array) -> Array:
    return toned(stretched(light(image)) * 0.96, (0.13, 0.06, 0.02), (0.52, 0.35, 0.18), (0.98, 0.87, 0.66))


def vintage(image: Array) -> Array:
    """A faded colour print: lifted blacks, greenish shadows, yellowed lights, a dark rim."""
    levels = 0.20 + 0.66 * saturated(image, 0.62)
    levels = levels * np.array([1.08, 0.99, 0.76], np.float32) + np.array([0.02, 0.03, 0.02], np.float32)
    h, w = image.shape[:2]
    y, x = np.linspace(-1, 1, h)[:, None], np.linspace(-1, 1, w)[None]
    return levels * (1 - 0.32 * ramp(np.hypot(x, y), 0.75, 1.4))[..., None]


def warmer(image: Array, strength: float) -> Array:
    return image ** (1 / (1 + 0.12 * strength)) * np.array([1 + 0.10 * strength, 1.0, 1 - 0.26 * strength], np.float32)


def colder(image: Array, strength: float) -> Array:
    return image * np.array([1 - 0.24 * strength, 1 - 0.02 * strength, 1 + 0.12 * strength], np.float32) + np.array(
        [0, 0, 0.07 * strength], np.float32
    )


def brighter(image: Array, strength: float) -> Array:
    return 1 - (1 - image) ** (1 + 0.75 * strength)


def darker(image: Array, strength: float) -> Array:
    return image ** (1 + 0.35 * strength) * (1 - 0.22 * strength)


def vivid(image: Array) -> Array:
    hue, saturation, level = hsv(image)
    return contrasted(from_hsv(hue, 1 - (1 - saturation) ** 2.6, level**0.92), 1.15, 0.45)


def inverted(image: Array) -> Array:
    return 1 - image


def tint(image: Array, colour: Colour) -> Array:
    """As through coloured glass: light in one colour, white stays its palest shade."""
    glass = np.array(colour, np.float32)
    return toned(stretched(light(image)), tuple(glass * 0.06), tuple(glass * 0.75), tuple(glass * 0.45 + 0.55))


def thermal(image: Array) -> Array:
    levels = (stretched(blur(light(image), 2 * unit(image))) * 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1].astype(np.float32) / 255
