"""Pictures of where an instruction acts."""

from __future__ import annotations

import numpy as np
from PIL import Image

COLD, HOT = (96.0, 0.0, 144.0), (255.0, 224.0, 48.0)  # violet to yellow
DARKENED = 0.6  # of the grey picture under the colours


def heat_picture(levels: np.ndarray, picture: Image.Image) -> Image.Image:
    """levels: (h, w) in [0, 1] → the picture darkened to grey, and in colour where the instruction acts."""
    sized = Image.fromarray((levels * 255 + 0.5).astype(np.uint8)).resize(picture.size, Image.Resampling.BICUBIC)
    t = np.asarray(sized, dtype=np.float32)[..., None] / 255
    cold, hot = np.array(COLD, np.float32), np.array(HOT, np.float32)
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32) * DARKENED
    return Image.fromarray((grey * (1 - t) + (cold + (hot - cold) * t) * t + 0.5).astype(np.uint8))
