"""Reading pictures as they are meant: upright, in sRGB, 8 bits, transparency laid on a ground; bad files refused in sentences."""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile, ImageOps

from ..errors import EditError
from ..files import why
from . import avif, kinds, metadata, repair, tiff
from .colour import DEPTH, NOTES, grey_levels, on_background, to_srgb
from .limits import HERE, MAX_FILE, Limits

Source = str | Path | IO[bytes] | bytes  # a file's name, an open file, or what one holds

TURN = "ip2p_orientation"  # in a picture's `info`: EXIF's number for how to turn it, where the file says so elsewhere
WHITE_SPACE = b" \t\r\n\v\f"
TURNED_SIDEWAYS = (5, 6, 7, 8)


def read_image(source: Source, what: str = "picture", *, background: str = "white", limits: Limits = HERE) -> Image.Image:
    """Reads a picture upright, in RGB and sRGB, whatever its kind; its size is checked before it is decoded.

    what: its name in a refusal; background: the colour under what is transparent; limits: `HTTP` for what a stranger sends.
    `notes_of` says what was converted, `exif_to_keep` has its date, place and camera.
    Raises EditError when it is no picture, truncated, or larger than 64 megapixels or the limits.
    """
    with refusals(what), limits.turn():
        return upright_rgb(decoded(source, what, limits), background)


def read_as_it_is(source: Source, what: str = "picture", *, limits: Limits = HERE) -> Image.Image:
    """In the mode and the orientation of its file; a TIFF upright. Raises EditError as `read_image` does."""
    with refusals(what), limits.turn():
        return decoded(source, what, limits)


def size_of_whole(source: Source, what: str = "picture") -> tuple[int, int]:
    """The upright width and height of a picture that can be read to its end: a JPEG is decoded at an eighth of its size, which
    reads all of it in a fraction of the time. Raises EditError as `read_image` does.
    """
    sizes = []

    def smallest(image: Image.Image) -> None:
        sizes.append(image.size)
        image.draft(None, (1, 1))

    with refusals(what):
        image = decoded(source, what, HERE, smallest)
        width, height = sizes[-1] if image.format == "JPEG" else image.size
        return (height, width) if orientation_of(image) in TURNED_SIDEWAYS else (width, height)


def read_base64(text: str, what: str = "picture", *, background: str = "white", limits: Limits = HERE) -> Image.Image:
    """Reads a picture from base64 or a data URL. Raises EditError as `read_image` does, and when it is no base64."""
    return read_image(from_base64(text, what), what, background=background, limits=limits)


def from_base64(text: str, what: str = "picture") -> bytes:
    """The bytes in base64 or a data URL. Raises EditError where it is neither."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        # Deleted in place: a text of many spaces, split, takes twenty times its size.
        return base64.b64decode(text.encode().translate(None, WHITE_SPACE), validate=True)
    except (binascii.Error, ValueError) as e:
        raise EditError(f"The {what} is not valid base64: send the file's bytes in base64, or a data URL.") from e


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """What Pillow raises for pictures that can't be read, as EditError."""
    try:
        yield
    except EditError:
        raise
    except Image.DecompressionBombError as e:
        raise EditError(f"The {what} is far larger than 64 megapixels: make it smaller first.") from e
    except OSError as e:
        if e.errno is not None and e.filename is not None:
            raise EditError(f"The {what} {e.filename} can't be read: {why(e)}.") from e
        raise damaged(what) from e
    except (SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError, MemoryError) as e:
        raise damaged(what) from e
    except Exception as e:
        if type(e).__name__ == "error":  # struct's and zlib's
            raise damaged(what) from e
        raise


def damaged(what: str) -> EditError:
    return EditError(f"The {what} can't be read: it is damaged or not a picture.")


def decoded(source: Source, what: str, limits: Limits, before_loading: Callable[[Image.Image], object] = lambda image: None) -> Image.Image:
    """The picture of a file as Pillow has it, or mended where Pillow can't read it right. Raises what Pillow raises, and EditError."""
    data = bytes_of(source, what)
    kind = kinds.kind_of(data[: kinds.HEADER])
    kinds.refuse_raw(kind, what)
    kind = kind or "TGA"
    limits.check_kind(kind, what)
    if kind == "JPEG XL":  # its plug-in decodes on opening
        limits.check_size(*repair.jxl_size(data), what)
    kinds.open_plugin(kind, what)

    def load(data: bytes) -> Image.Image:
        image = opened(data, kind, what, limits)
        before_loading(image)
        image.load()
        return image

    if kind == "TIFF":
        return decoded_tiff(data, what, limits, load)
    if kind == "JPEG":
        return decoded_jpeg(data, what, limits, load)
    if kind == "PNG":
        return decoded_png(data, load)
    image = load(data)
    if kind == "AVIF":
        image.info[TURN] = avif.orientation(data)
    return image


def bytes_of(source: Source, what: str) -> bytes:
    if isinstance(source, bytes):
        return source
    return kinds.contents_of(Path(source), what, MAX_FILE) if isinstance(source, (str, Path)) else source.read(MAX_FILE)


def opened(data: bytes, kind: str, what: str, limits: Limits) -> ImageFile.ImageFile:
    """Its header read and its size checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
        image = Image.open(io.BytesIO(data), formats=[kinds.PILLOW[kind]])
    limits.check_size(*image.size, what)
    if depth := depth_of(image):
        image.info[DEPTH] = depth
    return image


def depth_of(image: ImageFile.ImageFile) -> int | None:
    """Bits of a sample where they are 16, by how Pillow is going to unpack them; None where they are fewer, or it does not say."""
    return 16 if any(";16" in str(tile[3]) for tile in image.tile) else image.info.get("bit_depth")


def decoded_tiff(data: bytes, what: str, limits: Limits, load: Callable[[bytes], Image.Image]) -> Image.Image:
    data, directory = tiff.full_picture(data, what)
    tiff.check_tiles(directory, what)
    if not tiff.is_ours(directory):
        return load(data)
    image = tiff.read(data, directory, what, limits)
    with suppress(Exception):  # damaged metadata costs the metadata, not the picture
        exif = Image.Exif()
        exif.load_from_fp(io.BytesIO(data))
        image.info[metadata.KEPT] = metadata.selected(exif)
    return image


def decoded_jpeg(data: bytes, what: str, limits: Limits, load: Callable[[bytes], Image.Image]) -> Image.Image:
    size = opened(data, "JPEG", what, limits).size
    repair.check_scans(data, size, what)
    try:
        return load(data)
    except OSError:
        image, other = map(load, repair.with_end(data))
        if image.tobytes() != other.tobytes():
            raise
        image.info[NOTES] = ["its end mark was missing, though none of its pixels"]
        return image


def decoded_png(data: bytes, load: Callable[[bytes], Image.Image]) -> Image.Image:
    try:
        return load(data)
    except EditError:
        raise
    except Exception:
        pixels, profile = repair.without_texts(data)
        image = load(pixels)
        if profile:
            image.info["icc_profile"] = profile
        return image


def orientation_of(image: Image.Image) -> int:
    """EXIF's number for how the picture is still to be turned; 1 where that is done, not said or damaged."""
    if image.format in ("TIFF", None):  # turned by Pillow, or by us
        return 1
    if TURN in image.info:
        return image.info[TURN]
    with suppress(Exception):
        return image.getexif().get(metadata.ORIENTATION, 1)
    return 1


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF or its file says. Pictures of another extension, which have no file, too."""
    if image.format == "TIFF":
        image.load()  # which turns it; Pillow before 10 leaves the tag, so that it would be turned twice
    elif TURN in image.info:
        if method := tiff.TRANSPOSED.get(image.info[TURN]):
            return image.transpose(Image.Transpose[method])
    else:
        with suppress(Exception):  # a damaged EXIF block costs the orientation, not the picture
            return ImageOps.exif_transpose(image)
    return image


def upright_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """Any picture of Pillow's as `read_image` gives it: EXIF orientation and colour profile applied, transparency laid on
    `background`, 16-bit and float scaled to 8 bits."""
    notes, kept = list(image.info.get(NOTES, ())), image.info.get(metadata.KEPT)
    if kept is None:
        with suppress(Exception):
            kept = metadata.selected(image.getexif())
    icc_profile, depth = image.info.get("icc_profile"), image.info.get(DEPTH)
    image = upright(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = grey_levels(image)
    if icc_profile:
        image.info["icc_profile"] = icc_profile
    if depth:
        image.info[DEPTH] = depth
    image, conversions = to_srgb(image)
    image = on_background(image, background)
    # Neither the profile nor the orientation holds for it any more, and a result must not be written with them.
    image.info = {key: value for key, value in ((NOTES, [*notes, *conversions]), (metadata.KEPT, kept)) if value}
    return image
