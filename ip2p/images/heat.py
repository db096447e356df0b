"""Pictures of where an instruction acts."""

from __future__ import annotations

import numpy as np
from PIL import Image

COLD, HOT = (96.0, 0.0, 144.0), (255.0, 224.0, 48.0)  # violet to yellow
DARKENED = 0.6  # of the grey picture under the colours


def heat_picture(heat: np.ndarray, picture: Image.Image) -> Image.Image:
    """heat: (h, w), any range → the picture darkened to grey, and in colour where the instruction acts."""
    colour, t = coloured(heat, picture.size)
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32) * DARKENED
    return Image.fromarray((grey * (1 - t) + colour * t).clip(0, 255).astype(np.uint8))


def heat_layer(heat: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """heat: (h, w), any range → the colours of `heat_picture` alone, RGBA, to lay over a picture darkened to grey. size: (width, height)."""
    colour, t = coloured(heat, size)
    return Image.fromarray(np.concatenate([colour, t * 255], -1).clip(0, 255).astype(np.uint8))


def coloured(heat: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """→ colours, (H, W, 3) in [0, 255], and how far they cover the picture, (H, W, 1) in [0, 1]."""
    levels = Image.fromarray((heat_levels(heat) * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    t = np.asarray(levels, dtype=np.float32)[..., None] / 255
    cold, hot = np.array(COLD, np.float32), np.array(HOT, np.float32)
    return cold + (hot - cold) * t, t


def heat_levels(heat: np.ndarray) -> np.ndarray:
    """heat: (h, w) → [0, 1], outliers cut off at the 1st and 99th percentile."""
    low, high = np.percentile(heat, (1, 99))
    return ((heat - low) / max(high - low, 1e-12)).clip(0, 1)
