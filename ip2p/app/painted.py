"""Where a picture of the page may change: what is painted over it, and a mask file that keeps its own pixels.

What is painted is a text, the data URL of a picture of any size that shows the whole of the one to edit: in the brush's colour where it may
change, clear where not. So it goes on with the picture to a result of another size.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops

from ..edit import check_mask_size
from ..images import HTTP, fit, from_base64, picture_bytes, read_as_it_is, read_image, read_mask
from .uploads import NO_LONGER, shown_size, uploaded

BRUSH = (255, 64, 64)
Exact = tuple[str, str] | None  # the files of a picture and of its mask, as it was uploaded
SAME = 24  # levels by which what the browser gives back of a mask may differ from what it was given


@dataclass(frozen=True)
class Painted:
    """text: as above, empty where nothing is painted; file: of the mask that it was made from and painted on, or nothing."""

    text: str = ""
    file: str = ""

    def mask(self, size: tuple[int, int]) -> Image.Image | None:
        """→ L, of a picture of this (width, height), white where it may change; None where nothing is painted, which is everywhere. A mask
        file keeps its own pixels wherever nothing was painted or erased since. Raises EditError."""
        if not self.text:
            return None
        layer = read_as_it_is(from_base64(self.text, "mask"), "mask", limits=HTTP)
        painted = layer.convert("RGBA").getchannel("A")
        if not painted.getbbox():
            return None
        whole = painted.resize(size, Image.Resampling.BILINEAR)
        if not self.file:
            return whole
        exact = read_mask(uploaded(self.file, NO_LONGER), limits=HTTP)
        changed = ImageChops.difference(painted, fit(exact, painted.size, whole=True)).point(lambda level: 255 * (level > SAME))
        return Image.composite(whole, fit(exact, size, whole=True), changed.resize(size, Image.Resampling.BILINEAR))


def painted_on(picture: str, text: Any, exact: Exact) -> Painted:
    """What the browser says is painted on the picture of this file, unchecked."""
    return Painted(str(text or ""), exact[1] if exact and exact[0] == picture else "")


def painted_from(file: str, picture: str) -> Painted:
    """What a mask file of a picture looks like painted. Raises EditError where it can't be read or has another size."""
    mask, size = read_mask(file, limits=HTTP), read_image(picture, limits=HTTP).size
    check_mask_size(mask.size, size)
    layer = Image.new("RGB", shown_size(size), BRUSH)
    layer.putalpha(fit(mask, layer.size, whole=True))
    return Painted("data:image/png;base64," + base64.b64encode(picture_bytes(layer)).decode(), file)
