"""Writing results: PNG, JPEG or WebP in sRGB, with the infotext and the settings they were made with inside."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import EditError
from ..files import written_whole
from . import metadata

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
NAMES = {"JPEG": "JPEG", "WEBP": "WebP"}
INFOTEXT, SETTINGS = "parameters", "ip2p"  # a PNG's fields: what the WebUI reads, and by what a later run knows it is finished
QUALITY = 95  # of a JPEG at full resolution of its colours (4:4:4); a WebP halves it whatever the quality
LARGE = 4_000_000  # pixels from which a PNG is packed in a quarter of the time and an eighth more bytes
LARGEST = {"JPEG": 65_535, "WEBP": 16_383}  # side, in pixels
PERCEPTUAL = b"\0"  # the rendering intent that the chunk sRGB names


def format_of(path: Path) -> str:
    """Pillow's name, by the suffix. Raises EditError for a suffix that is not written."""
    if path.suffix.lower() not in FORMATS:
        raise EditError(f"Results are written as PNG, JPEG or WebP: let {path.name} end with .png, .jpg or .webp.")
    return FORMATS[path.suffix.lower()]


def save_picture(
    image: Image.Image, path: Path, *, infotext: str = "", settings: str = "", exif: bytes | None = None, quality: int = QUALITY
) -> None:
    """Writes a picture whole or not at all, over what is there, in the format of the suffix.

    image: in sRGB; settings: ASCII, what `settings_in` gives back; exif: from `exif_to_keep`; quality: of JPEG and WebP, 0–100.
    Raises EditError for another suffix, a picture that the format can't hold, a full disk or a missing right.
    """
    data = picture_bytes(image, format_of(path), infotext=infotext, settings=settings, exif=exif, quality=quality)
    with written_whole(path, force=True) as beside:
        beside.write_bytes(data)


def picture_bytes(
    image: Image.Image,
    format: str = "PNG",
    *,
    infotext: str = "",
    settings: str = "",
    exif: bytes | None = None,
    quality: int = QUALITY,
) -> bytes:
    """The file's bytes. format: PNG, JPEG or WEBP; the rest as `save_picture`."""
    buffer = io.BytesIO()
    if format == "PNG":
        fields = PngInfo()
        fields.add(b"sRGB", PERCEPTUAL)
        for name, text in ((INFOTEXT, infotext), (SETTINGS, settings)):
            if text:
                fields.add_text(name, text)
        # The picture's own profile and EXIF are those of the file it was read from.
        image.save(buffer, "PNG", pnginfo=fields, exif=exif or b"", icc_profile=None, compress_level=png_level(image))
        return buffer.getvalue()
    if max(image.size) > LARGEST[format]:
        raise EditError(
            f"A {NAMES[format]} has at most {LARGEST[format]} pixels a side, and this result has {max(image.size)}: write a PNG."
        )
    options: dict = {"subsampling": 0} if format == "JPEG" else {}
    exif = metadata.with_texts(exif, infotext, settings)
    try:
        image.convert("RGB").save(buffer, format, quality=quality, exif=exif, icc_profile=None, **options)
    except ValueError as e:  # a JPEG's EXIF holds 64 kB
        raise EditError(f"The texts of this result do not fit into a {NAMES[format]}: write a PNG.") from e
    return buffer.getvalue()


def png_level(image: Image.Image) -> int:
    """How hard a PNG of it is packed, 1 to 9."""
    return 1 if image.width * image.height > LARGE else 6


def infotext_in(path: Path) -> str | None:
    """The infotext in a PNG, JPEG or WebP, whether we or the WebUI wrote it; None where there is none, or the file can't be read."""
    return texts_of(path)[0]


def settings_in(path: Path) -> str | None:
    """The settings in a PNG, JPEG or WebP that `save_picture` wrote; None in any other file."""
    return texts_of(path)[1]


def texts_of(path: Path) -> tuple[str | None, str | None]:
    try:
        with Image.open(path, formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.format == "PNG":
                return image.info.get(INFOTEXT), image.info.get(SETTINGS)
            return metadata.texts_in(image)
    except Exception:  # whatever the file is, neither wrote it
        return None, None
