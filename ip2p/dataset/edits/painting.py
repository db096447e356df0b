"""Edits that draw, paint or print the photograph."""

from __future__ import annotations

import cv2
import numpy as np

from ...filters import (
    Array,
    blur,
    contrasted,
    flattened,
    from_hsv,
    hsv,
    light,
    mix,
    outlines,
    ramp,
    saturated,
    slopes,
    stretched,
    toned,
    unit,
)


def pencil(image: Array) -> Array:
    u = unit(image)
    levels = light(flattened(image, 1, 0.08, 3))
    dodge = (levels / (blur(levels, 4.5 * u) + 0.02)).clip(0, 1) ** 2.2
    shade = 0.80 + 0.20 * stretched(blur(levels, 2 * u))
    return toned((dodge * shade).clip(0, 1), (0.12, 0.12, 0.13), (0.62, 0.62, 0.62), (0.985, 0.98, 0.965))


def watercolour(image: Array) -> Array:
    """Clear washes that pool darker along outlines, on white paper that shows through where it is light."""
    u = unit(image)
    hue, saturation, level = hsv(blur(flattened(image, 4, 0.14, 5), 0.7 * u))
    level = stretched(level)
    wash = from_hsv(hue, saturation * (1.45 - 0.5 * level), 0.40 + 0.62 * level)
    edges = outlines(image, 1.0)
    pooled = 0.42 * ramp(edges, 0.2, 0.8) + 0.14 * blur(edges, 3 * u)
    return mix(mix(wash, np.ones(3, np.float32), 0.12 + 0.55 * ramp(level, 0.6, 1.0)), wash * 0.4, pooled)


def oil(image: Array) -> Array:
    """Each stroke takes the commonest brightness around it (Haeberli's oil filter); thick paint catches the light."""
    u = unit(image)
    picture = contrasted(saturated(image, 1.35), 1.1, 0.45).clip(0, 1)
    for reach in (5, 3):
        picture = commonest(picture, reach * u)
    down = slopes(blur(light(picture), 0.6 * u))[1]
    canvas = picture * np.array([1.03, 1.0, 0.90], np.float32)
    return canvas + (3.2 * u * down).clip(-0.2, 0.2)[..., None]


def commonest(image: Array, reach: float, steps: int = 8) -> Array:
    """Every pixel becomes the mean of those around it that have the commonest of `steps` levels of brightness there."""
    levels = (light(image) * steps).round().clip(0, steps)
    most, paint = np.zeros_like(levels), np.zeros_like(image)
    for level in range(steps + 1):
        inside = (levels == level).astype(np.float32)
        count = blur(inside, reach * 0.6)
        mean = blur(image * inside[..., None], reach * 0.6) / (count[..., None] + 1e-6)
        wins = count > most
        most[wins], paint[wins] = count[wins], mean[wins]
    return paint


def posterise(image: Array) -> Array:
    """Six flat colours, those of the picture made stronger."""
    smooth = blur(flattened(image, 3, 0.12, 4), 0.7 * unit(image))
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    cv2.setRNGSeed(1)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.3)
    sample = np.ascontiguousarray(lab[:: max(round(2 * unit(image)), 1), :: max(round(2 * unit(image)), 1)].reshape(-1, 3))
    _, _, inks = cv2.kmeans(sample, 6, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload] # labels are optional
    nearest = ((lab[:, :, None] - inks) ** 2).sum(-1).argmin(-1)
    inks[:, 0] = (inks[:, 0] - 50) * 1.25 + 52
    inks[:, 1:] *= 1.7
    return cv2.cvtColor(inks[None], cv2.COLOR_LAB2RGB)[0][nearest]


def pop_art(image: Array) -> Array:
    """A screen print in four inks, dark to light."""
    levels = stretched(blur(light(flattened(image, 2, 0.12, 4)), 0.8 * unit(image)))
    inks = np.array([(0.13, 0.05, 0.36), (0.93, 0.08, 0.50), (1.0, 0.55, 0.10), (1.0, 0.95, 0.30)], np.float32)
    return inks[np.digitize(levels, (0.27, 0.5, 0.75))]


def cartoon(image: Array) -> Array:
    smooth = flattened(image, 4, 0.14, 6)
    hue, saturation, level = hsv(smooth)
    steps = level * 4
    level = (np.floor(steps) + ramp(steps % 1, 0.35, 0.65) + 0.25) / 4.25
    flat = from_hsv(hue, saturation * 1.45, level * 1.08)
    return flat * (1 - ramp(outlines(image), 0.38, 0.75))[..., None]


def neon(image: Array) -> Array:
    """Outlines glow on black, magenta where they run down, cyan where they run across."""
    u = unit(image)
    lines = ramp(outlines(image), 0.15, 0.75)
    right, down = (np.abs(blur(x, 3 * u)) for x in slopes(blur(light(image), 1.2 * u)))
    across = blur(ramp(down / (right + down + 1e-4), 0.25, 0.75), 2 * u)
    colour = toned(across, (1.0, 0.08, 0.78), (0.45, 0.35, 1.0), (0.05, 0.95, 1.0))
    glow = lines + 0.9 * blur(lines, 3.5 * u)
    return colour * glow[..., None] + (ramp(lines, 0.7, 1) * 0.45)[..., None] + np.array([0.015, 0.01, 0.045], np.float32)


def blueprint(image: Array) -> Array:
    lines = ramp(outlines(image, 0.9), 0.12, 0.8)
    paper = toned(stretched(blur(light(image), 3 * unit(image))), (0.03, 0.16, 0.46), (0.08, 0.27, 0.60))
    return mix(paper, np.array([0.93, 0.97, 1.0], np.float32), lines)
