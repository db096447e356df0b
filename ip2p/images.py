"""Pictures: reading them safely, fitting them to the network's sizes, masks, and heat maps."""

from __future__ import annotations

import base64
import binascii
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .edit import MAX_SIDE, Edit
from .errors import EditError

MAX_PIXELS = 64_000_000
ORIENTATION = 0x0112  # EXIF's tag
# Others stay closed: EPS is run by Ghostscript, and an icon's header does not tell the size of the picture in it.
READABLE = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")
STEP = 64  # the UNet halves the latent three times, and the latent is an eighth of the picture


def read_image(source: str | Path | IO[bytes], what: str = "picture") -> Image.Image:
    """Reads a picture upright and in RGB, whatever its mode; its size is checked before it is decoded. what: its name in a refusal.

    Raises EditError when it is no picture, truncated, or larger than 64 megapixels.
    """
    return upright_rgb(read_as_it_is(source, what))


def read_as_it_is(source: str | Path | IO[bytes], what: str = "picture") -> Image.Image:
    """In the mode and the orientation of its file. Raises EditError as `read_image` does."""
    with refusals(what):
        image = header_of(source, what)
        image.load()
    return image


def size_of_whole(source: str | Path | IO[bytes], what: str = "picture") -> tuple[int, int]:
    """The upright width and height of a picture that can be read to its end: a JPEG is decoded at an eighth of its size, which
    reads all of it in a fraction of the time. Raises EditError as `read_image` does.
    """
    with refusals(what):
        image = header_of(source, what)
        width, height = image.size
        image.draft(None, (1, 1))
        image.load()
    turned = False
    with suppress(Exception):  # a damaged EXIF block costs the orientation, not the picture
        turned = image.format != "TIFF" and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return (height, width) if turned else (width, height)


def header_of(source: str | Path | IO[bytes], what: str) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
        Image.init()
        image = Image.open(source, formats=[name for name in READABLE if name in Image.OPEN])
    check_pixels(image, what)
    return image


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """What Pillow raises for pictures that can't be read, as EditError."""
    try:
        yield
    except EditError:
        raise
    except Image.DecompressionBombError as e:
        raise EditError(f"The {what} is far larger than 64 megapixels: make it smaller first.") from e
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, MemoryError) as e:
        raise EditError(f"The {what} can't be read: it is damaged or not a picture.") from e


def check_pixels(image: Image.Image, what: str = "picture") -> None:
    """Raises EditError for a picture of more than 64 megapixels, from its header alone."""
    if image.width * image.height > MAX_PIXELS:
        raise EditError(f"The {what} is {image.width}x{image.height}: at most 64 megapixels can be edited, make it smaller first.")


def read_base64(text: str, what: str = "picture") -> Image.Image:
    """Reads a picture from base64 or a data URL. Raises EditError as `read_image` does, and when it is no base64."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as e:
        raise EditError(f"The {what} is not valid base64: send the file's bytes in base64, or a data URL.") from e
    return read_image(io.BytesIO(data), what)


def upright_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """EXIF orientation applied, transparency laid on `background`, 16-bit and float scaled to 8 bits, CMYK converted."""
    if image.format == "TIFF":
        image.load()  # which turns it; Pillow before 10 leaves the tag, so that it would be turned twice
    else:
        with suppress(Exception):  # a damaged EXIF block costs the orientation, not the picture
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image, dtype=np.float32)
        levels = np.nan_to_num(levels, posinf=0.0, neginf=0.0)
        high = levels.max(initial=0.0)
        # A float picture is in [0, 1]; an integer one has 16 bits, unless every value fits in 8.
        white = (1.0 if high <= 1 else 255.0) if image.mode == "F" else (65535.0 if high > 255 else 255.0)
        image = Image.fromarray((levels / max(white, high) * 255 + 0.5).clip(0, 255).astype(np.uint8), "L")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, background)
        image = Image.alpha_composite(ground, image)
    return image.convert("RGB")


def fit_size(width: int, height: int, longest_side: int = 512) -> tuple[int, int]:
    """Working size for a picture: multiples of 64, at most `longest_side`, near its aspect and near its largest area.

    The official code (edit_cli.py) rounds so that the longest side can pass the limit; here it can't, which keeps a
    memory limit a limit. The two agree wherever its result keeps the limit and its aspect is exact.
    """
    sides = range(STEP, max(longest_side // STEP * STEP, STEP) + 1, STEP)
    aspect = width / height
    largest = sides[-1] ** 2 * min(aspect, 1 / aspect)

    def cost(size: tuple[int, int]) -> float:
        w, h = size
        return abs(math.log(w / h / aspect)) + 0.5 * abs(math.log(largest / (w * h)))

    return min(((w, h) for w in sides for h in sides), key=cost)


def working_size(image: Image.Image, width: int | None, height: int | None, longest_side: int = 512) -> tuple[int, int]:
    """The size to edit at: as asked, in multiples of 8; a missing side follows the picture within the limits; none asked: `fit_size`."""
    if width is None and height is None:
        return fit_size(*image.size, longest_side)
    if width is None:
        width = round(height * image.width / image.height)
    if height is None:
        height = round(width * image.height / image.width)
    width, height = (min(max(side // 8 * 8, STEP), MAX_SIDE) for side in (width, height))
    return width, height


def fit(image: Image.Image, size: tuple[int, int], whole: bool = False) -> Image.Image:
    """The picture at `size`, Lanczos: cropped around its middle (the paper), or `whole`, squeezed by the few percent that
    the multiples of 64 ask for, so that the result can be given back at the picture's own size with nothing missing."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS) if whole else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def keep_outside(result: np.ndarray, source: Image.Image, mask: Image.Image) -> np.ndarray:
    """result: (h, w, 3) in [0, 255]; pixels where the mask is black become the source's own, grey ones a mixture."""
    alpha = np.asarray(mask.convert("L"), dtype=np.float32)[..., None] / 255
    return result * alpha + np.asarray(source, dtype=np.float32) * (1 - alpha)


def finish(result: np.ndarray, edit: Edit, picture: Image.Image, mask: Image.Image | None) -> np.ndarray:
    """result: (h, w, 3) in [0, 255] at working size, of which `picture` and `mask` are → (H, W, 3) in [0, 255]: at the picture's
    own size and with the pixels outside the mask put back, where the edit asks for that."""
    if edit.own_size:
        levels = [Image.fromarray(level).resize(edit.image.size, Image.Resampling.LANCZOS) for level in np.moveaxis(result, 2, 0)]
        result = np.stack([np.asarray(level) for level in levels], -1).clip(0, 255)
        picture, mask = edit.image, edit.mask
    return result if mask is None else keep_outside(result, picture, mask)


def heat_picture(heat: np.ndarray, picture: Image.Image) -> Image.Image:
    """heat: (h, w), any range → the picture darkened to grey, and in colour where the instruction acts."""
    levels = heat_levels(heat)
    levels = Image.fromarray((levels * 255).astype(np.uint8), "L").resize(picture.size, Image.Resampling.BICUBIC)
    t = np.asarray(levels, dtype=np.float32)[..., None] / 255
    grey = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32) * 0.6
    low, high = np.array([96.0, 0.0, 144.0], np.float32), np.array([255.0, 224.0, 48.0], np.float32)
    colour = low + (high - low) * t
    return Image.fromarray((grey * (1 - t) + colour * t).clip(0, 255).astype(np.uint8))


def heat_levels(heat: np.ndarray) -> np.ndarray:
    """heat: (h, w) → [0, 1], outliers cut off at the 1st and 99th percentile."""
    low, high = np.percentile(heat, (1, 99))
    return ((heat - low) / max(high - low, 1e-12)).clip(0, 1)
