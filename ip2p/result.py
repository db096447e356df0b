"""What a person gets back of an edit: the network's picture as it is, enlarged, or with the photograph's own detail."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .detail import transfer
from .edit import FULL, WORKING, Edit
from .images import Box, keep_outside
from .pixels import to_picture


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
    if edit.result == WORKING:
        return to_picture(levels if mask is None else keep_outside(levels, frame.cut(picture), frame.cut(mask)))
    photograph = frame.shown(edit.seen)
    outside = edit.seen_mask and frame.shown(edit.seen_mask)
    if edit.result != FULL or edit.detail == 0:
        whole = transfer(photograph, levels, levels, 0, outside, on_rows)
    else:
        whole = transfer(photograph, levels, frame.cut_levels(decoded()), edit.detail, outside, on_rows)
    return put_back(whole, edit.image, edit.box) if edit.box else whole


def put_back(part: Image.Image, photograph: Image.Image, box: Box) -> Image.Image:
    """The photograph with a part of it replaced."""
    whole = photograph.copy()
    whole.info = {}
    whole.paste(part, box)
    return whole
