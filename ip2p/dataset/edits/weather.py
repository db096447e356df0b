"""Edits of weather, season and time of day."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ...filters import Array, blur, contrasted, from_hsv, height, hsv, light, mix, ramp, saturated, slopes, stretched, toned, unit
from ...segmentation.sky import sky_of
from .scenery import above_average, foliage_of


def night(image: Array) -> Array:
    """Moonlight: dim and blue, the sky nearly black at the top, what shone brightest glows like a lamp."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    moonlit = mix(levels[..., None], image, 0.35) ** 1.25 * np.array([0.24, 0.33, 0.58], np.float32)
    dark_sky = toned(height(image) * 1.3, (0.01, 0.02, 0.07), (0.05, 0.08, 0.20), (0.12, 0.15, 0.30)) + 0.05 * (levels - 0.6)[..., None]
    lamps = ramp(levels - blur(levels, 5 * u), 0.14, 0.34) * ramp(levels, 0.6, 0.85) * (1 - ramp(blur(sky, 5 * u), 0.02, 0.2))
    glow = np.maximum(lamps, 0) + 0.9 * blur(lamps, 4 * u)
    return mix(moonlit, dark_sky, sky * 0.92) + glow.clip(0, 1)[..., None] * np.array([0.75, 0.50, 0.18], np.float32)


def sunset(image: Array) -> Array:
    """A sky from violet to gold, and low orange light on the rest."""
    levels, sky = light(image), sky_of(image)
    horizon = max((height(image) * (sky > 0.5)).max(), 0.35)
    evening = toned(height(image) / horizon, (0.30, 0.16, 0.42), (0.78, 0.28, 0.36), (0.99, 0.52, 0.20), (1.0, 0.80, 0.38))
    evening = evening + 0.5 * above_average(levels, sky, 12 * unit(image))[..., None]
    land = toned(levels**1.15, (0.08, 0.02, 0.10), (0.58, 0.25, 0.16), (1.0, 0.66, 0.30), (1.0, 0.90, 0.62))
    land = mix(land, image * np.array([1.0, 0.62, 0.36], np.float32), 0.45)
    return mix(land, evening, sky)


def winter(image: Array) -> Array:
    """Snow on what faces up, on the ground and on leaves, under a white sky, in a cold light."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    fine, coarse = blur(levels, 0.9 * u), blur(levels, 2.5 * u)
    up = ramp(-slopes(fine)[1] * u, 0.012, 0.07) + ramp(-slopes(coarse)[1] * u, 0.006, 0.03)
    leaves = foliage_of(image) * ramp(levels - blur(levels, 8 * u), -0.16, 0.03)
    flat = 1 - ramp(blur(np.hypot(*slopes(fine)) * u, 4 * u), 0.02, 0.06)
    ground = ramp(height(image), 0.5, 0.9) * (0.35 + 0.65 * flat) * ramp(levels, 0.12, 0.4)
    snow = blur(np.max([up.clip(0, 1) * 0.85, leaves, ground * 0.9], 0), 0.7 * u) * (1 - sky)
    cold = saturated(image, 0.35) * np.array([0.86, 0.95, 1.08], np.float32) * 0.85 + 0.08
    white = toned(0.45 + 0.55 * stretched(levels), (0.55, 0.64, 0.78), (0.80, 0.86, 0.95), (0.99, 1.0, 1.0))
    pale = toned(0.6 * height(image) + 0.4 * stretched(levels), (0.72, 0.77, 0.84), (0.93, 0.95, 0.97))
    return mix(mix(cold, white, snow), pale, sky)


def autumn(image: Array) -> Array:
    """Green turns to yellow in the light and to red in the shade."""
    hue, saturation, level = hsv(image)
    light_here = stretched(blur(light(image), 2.5 * unit(image)), foliage_of(image))
    leaves = from_hsv(8 + 36 * light_here + 0.10 * (hue - 90).clip(-40, 40), 0.35 + saturation * 0.75, level * 1.3 + 0.1)
    graded = image * np.array([1.05, 0.98, 0.86], np.float32)
    return mix(graded, leaves, foliage_of(image))


def blossom(image: Array) -> Array:
    """Green turns to cherry blossom."""
    leaves = foliage_of(image)
    levels = stretched(light(image), leaves)
    return mix(image, toned(levels**0.75, (0.48, 0.16, 0.30), (0.93, 0.52, 0.68), (1.0, 0.80, 0.88), (1.0, 0.95, 0.97)), leaves * 0.96)


def fog(image: Array) -> Array:
    """White haze, thicker towards the top, where a picture is far away."""
    u = unit(image)
    depth = 0.93 - 0.38 * ramp(height(image), 0.35, 1.0)
    soft = mix(image, blur(image, 2.5 * u), 0.7 * (1 - ramp(height(image), 0.4, 1.0)))
    return mix(saturated(soft, 0.5), np.array([0.86, 0.88, 0.90], np.float32), depth * 0.92)


def rain(image: Array) -> Array:
    """A dark, blue-grey day, falling drops, and wet ground that mirrors what stands on it."""
    u = unit(image)
    h = image.shape[0]
    grey = saturated(image, 0.4) * np.array([0.60, 0.68, 0.78], np.float32)
    grey = contrasted(grey, 0.75, 0.42) * 1.12
    sky = sky_of(image)
    grey = mix(grey, toned(height(image), (0.24, 0.27, 0.32), (0.52, 0.55, 0.58)), sky * 0.85)
    wet = ramp(height(image), 0.72, 1.0)
    rows = (2 * round(0.72 * h) - np.arange(h)).clip(0, h - 1)
    mirror = cv2.blur(np.ascontiguousarray(grey[rows]), (max(round(2 * u), 1), max(round(9 * u), 1)))
    grey = mix(grey, mirror * 1.1, wet * 0.45)
    return grey + streaks(image.shape[:2], u)[..., None] * np.array([0.22, 0.24, 0.26], np.float32)


@lru_cache(maxsize=8)
def streaks(size: tuple[int, int], u: float) -> Array:
    """Falling rain, the same in every picture of a size, (h, w) in [0, 1]."""
    h, w = size
    noise = np.random.default_rng(7).random((1024, 1024), np.float32)
    drops: Array = np.ascontiguousarray(np.roll(noise, (-(512 - h // 2), -(512 - w // 2)), (0, 1))[:h, :w]) if max(size) <= 1024 else noise
    if drops.shape != size:
        drops = cv2.resize(noise, (w, h), interpolation=cv2.INTER_NEAREST)
    length = max(round(24 * u), 3)
    kernel = np.zeros((length, length), np.float32)
    kernel[:, length // 2] = 1
    lines = cv2.filter2D((drops > 0.992).astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
    return blur(lines, 0.6 * u).clip(0, 1)


def cloudy(image: Array) -> Array:
    """An overcast sky, and the flat grey light under it."""
    u = unit(image)
    levels, sky = light(image), sky_of(image)
    land = contrasted(saturated(image, 0.5), 0.7, 0.42) * np.array([0.86, 0.89, 0.92], np.float32)
    waves = clouds(image.shape[:2]) * 0.55 + stretched(above_average(levels, sky, 40 * u), sky) * 0.45
    heavy = toned(waves * 0.75 + 0.25 * height(image), (0.40, 0.43, 0.48), (0.60, 0.62, 0.66), (0.82, 0.83, 0.85))
    return mix(land, heavy, sky)


@lru_cache(maxsize=8)
def clouds(size: tuple[int, int]) -> Array:
    """A blanket of clouds, the same in every picture, (h, w) in [0, 1]."""
    h, w = size
    rng = np.random.default_rng(11)
    total: Array = np.zeros(size, np.float32)
    for octave in range(1, 5):
        grid = rng.random((3 * 2**octave, 2 * 2**octave)).astype(np.float32)
        total += np.asarray(cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)) / 1.7**octave
    return stretched(total)


def sunny(image: Array) -> Array:
    """A blue sky and bright warm light."""
    levels, sky = light(image), sky_of(image)
    puffs = ramp(above_average(levels, sky, 25 * unit(image)), 0.02, 0.12)
    horizon = max((height(image) * (sky > 0.5)).max(), 0.3)
    blue = toned(height(image) / horizon, (0.10, 0.36, 0.82), (0.28, 0.58, 0.93), (0.66, 0.84, 0.98))
    blue = mix(blue, np.ones(3, np.float32), 0.8 * puffs)
    land = contrasted(saturated(image, 1.35), 1.18, 0.42) * np.array([1.10, 1.03, 0.86], np.float32) + 0.04
    return mix(land, blue, sky)


def underwater(image: Array) -> Array:
    """Red is swallowed, the deep is dark, light comes from above."""
    u = unit(image)
    soft = blur(image, 0.8 * u)
    water = toned(1 - height(image), (0.0, 0.10, 0.26), (0.0, 0.34, 0.52), (0.22, 0.74, 0.80))
    lit = soft * np.array([0.28, 0.85, 0.95], np.float32) * (1.05 - 0.45 * height(image))[..., None]
    return mix(lit, water, 0.5)
