"""What a person gets back of an edit: the network's picture as it is, enlarged, or with the photograph's own detail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .detail import gaussian, transfer
from .edit import FULL, WORKING, Edit
from .images import Box, keep_outside
from .pixels import to_picture

COLOUR = 1 / 32  # of the longest side: standard deviation of the window within which colour is what stays


def finished(
    edit: Edit,
    levels: np.ndarray,
    picture: Image.Image,
    mask: Image.Image | None,
    decoded: Callable[[], np.ndarray],
    on_rows: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """levels: (h, w, 3) in [0, 255], as the network made them; picture, mask: the edit's, as the network was given them; decoded: gives
    that picture's levels through the autoencoder alone, asked for only where it is needed; on_rows: as for `detail.transfer`.

    → RGB: of the photograph's size, or of the working size; outside the mask it has the photograph's own pixels. An edit of a part is
    put back into the photograph, or at working size shown by itself.
    """
    frame = edit.frame
    levels = frame.cut_levels(levels)
    if edit.region is not None and mask is not None and edit.region.keep_colour > 0:
        levels = with_colour_of(frame.cut(picture), levels, frame.cut(mask), edit.region.keep_colour)
    if edit.result == WORKING:
        return to_picture(levels if mask is None else keep_outside(levels, frame.cut(picture), frame.cut(mask)))
    photograph = frame.shown(edit.seen)
    outside = edit.seen_mask and frame.shown(edit.seen_mask)
    if edit.result != FULL or edit.detail == 0:
        whole = transfer(photograph, levels, levels, 0, outside, on_rows)
    else:
        whole = transfer(photograph, levels, frame.cut_levels(decoded()), edit.detail, outside, on_rows)
    return put_back(whole, edit.image, edit.box) if edit.box else whole


def with_colour_of(picture: Image.Image, levels: np.ndarray, mask: Image.Image, share: float) -> np.ndarray:
    """levels: (h, w, 3) in [0, 255], of the picture's size → the same with this share of the picture's colour, without its detail, where
    the mask is white. Only what is within the mask is averaged, so that nothing from outside comes in."""
    inside = np.asarray(mask, np.float32)[..., None] / 255
    radius = COLOUR * max(mask.size)
    missing = gaussian((np.asarray(picture, np.float32) - levels) * inside, radius) / np.maximum(gaussian(inside, radius), 1e-3)
    return (levels + share * inside * missing).clip(0, 255)


def put_back(part: Image.Image, photograph: Image.Image, box: Box) -> Image.Image:
    """The photograph with a part of it replaced."""
    whole = photograph.copy()
    whole.info = {}
    whole.paste(part, box)
    return whole
