"""Masks: what a mask file means, and how pixels outside it are kept."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..errors import EditError
from .colour import NOTES, blocks, grey_levels, has_alpha, with_alpha
from .limits import HERE, Limits
from .read import Source, decoded, refusals, upright

BLACK, WHITE = 64, 192  # levels up to and from which a stroke counts as black or white
ONE_COLOUR = 24  # levels: what rounding leaves of one colour under an alpha channel
FAINT = 16  # the lightest level of a mask with labels or next to nothing in it


def read_mask(source: Source, what: str = "mask", *, limits: Limits = HERE) -> Image.Image:
    """Reads a mask → L, upright, white is edited, grey mixes. One rule for the tab, the API, the command line and training:

    - strokes on transparency, of one colour: the alpha channel is the mask;
    - black and white strokes on transparency: white as far as it is opaque;
    - a picture with a hole, as MagicBrush and OpenAI's API have it: the hole is edited;
    - without transparency: its grey levels, those of a mask of 0 and 1 as black and white, deep ones in their range.

    `notes_of` says where nothing is white. Raises EditError as `read_image` does, and for a mask whose lightest level is almost black.
    """
    with refusals(what), limits.turn():
        return mask_of(decoded(source, what, limits), what)


def mask_of(image: Image.Image, what: str = "mask") -> Image.Image:
    """The mask that a picture of any mode means, as `read_mask` says. Raises EditError for one that is almost black."""
    image = upright(image)
    notes: list[str] = []
    if has_alpha(image) and extremes(with_alpha(image).getchannel("A"))[0] < 255:
        mask = mask_of_layer(with_alpha(image), notes)
    else:
        mask = mask_of_levels(image)
    lightest = extremes(mask)[1]
    if 0 < lightest < FAINT:
        raise EditError(f"The {what}'s lightest level is {lightest} of 255, and white is edited: make what is to be edited white.")
    if lightest == 0:
        notes.append(f"the {what} has no white, so nothing is edited")
    mask.info = {NOTES: notes} if notes else {}
    return mask


def extremes(grey: Image.Image) -> tuple[int, int]:
    """The lowest and the highest level of a picture in mode L."""
    histogram = np.flatnonzero(grey.histogram())
    return int(histogram[0]), int(histogram[-1])


def mask_of_levels(image: Image.Image) -> Image.Image:
    """Of a picture without transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image)
        if levels.max(initial=0) <= 1:
            return Image.fromarray((np.nan_to_num(levels.astype(np.float32)).clip(0, 1) * 255 + 0.5).astype(np.uint8))
        return grey_levels(image)
    grey = image.convert("L")
    return grey.point(lambda level: 255 * level) if extremes(grey)[1] == 1 else grey


def mask_of_layer(layer: Image.Image, notes: list[str]) -> Image.Image:
    """layer: RGBA, transparent somewhere."""
    alpha = layer.getchannel("A")
    opaque = max(extremes(alpha)[1] / 2, 1)  # rounding spoils the colours of what is nearly transparent
    low, high, grey, strokes = [255] * 3, [0] * 3, 0, True
    for rows in blocks(np.asarray(layer)):
        colours = rows[rows[..., 3] >= opaque][:, :3].astype(int)
        if not len(colours):
            continue
        low, high = np.minimum(low, colours.min(0)), np.maximum(high, colours.max(0))
        grey = max(grey, np.ptp(colours, axis=1).max())
        between = (colours.max(1) > BLACK) & (colours.min(1) < WHITE)
        strokes &= between.mean() < 0.1  # the soft rims of strokes
    if np.all(np.subtract(high, low) <= ONE_COLOUR):
        return alpha
    if grey <= ONE_COLOUR and strokes:
        levels = np.asarray(layer.convert("RGB").convert("L"), np.uint16)
        return Image.fromarray(((levels * np.asarray(alpha, np.uint16) + 127) // 255).astype(np.uint8))
    notes.append("the mask is a picture with a hole: the hole is edited")
    return Image.fromarray(255 - np.asarray(alpha))


def keep_outside(result: np.ndarray, source: Image.Image, mask: Image.Image) -> np.ndarray:
    """result: (h, w, 3) in [0, 255]; pixels where the mask is black become the source's own, grey ones a mixture."""
    alpha = np.asarray(mask.convert("L"), dtype=np.float32)[..., None] / 255
    return result * alpha + np.asarray(source, dtype=np.float32) * (1 - alpha)
