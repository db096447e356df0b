"""What a file is, by its first bytes: kinds of pictures, the packages that read them, and the pictures of a folder."""

from __future__ import annotations

import importlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import PIL
from PIL import Image

from ..errors import EditError
from ..files import why
from . import tiff

HEADER = 512  # bytes that tell the kind
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # + is BigTIFF
BRANDS = {
    "AVIF": {b"avif", b"avis"},
    "HEIC": {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"},
    "CR3": {b"crx "},
}
RAW = {b"FUJIFILMCCD-RAW": "RAF", b"IIRO": "ORF", b"IIRS": "ORF", b"MMOR": "ORF", b"IIU\0": "RW2", b"FOVb": "X3F"}
CAMERA_RAW = {"CR3", *RAW.values()}
# Pillow's name of each kind. Others stay closed: EPS is run by Ghostscript, and an icon's header does not tell the size of the
# picture in it. TGA has no signature: whatever is of no known kind is tried as one.
PILLOW = {
    "JPEG": "JPEG", "PNG": "PNG", "WebP": "WEBP", "AVIF": "AVIF", "HEIC": "HEIF", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF",
    "PPM": "PPM", "TGA": "TGA", "JPEG 2000": "JPEG2000", "JPEG XL": "JXL",
}  # fmt: skip
SHOWN_BY_BROWSERS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WebP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "AVIF": ".avif",
}  # and their files' suffixes
# Kinds that Pillow may need a package for: its module, and what to install.
PACKAGES = {
    "HEIC": ("pillow_heif", "pillow-heif"),
    "AVIF": ("pillow_avif", "pillow-avif-plugin"),
    "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin"),
}
OLD_PILLOW = {"pillow-heif": "pillow-heif==0.15.0"}  # the last one for Pillow 9


def kind_of_file(path: Path) -> str | None:
    """As `kind_of`. Raises OSError for a file that can't be read."""
    with open(path, "rb") as file:
        return kind_of(file.read(HEADER))


def kind_of(header: bytes) -> str | None:
    """The kind of a picture by its first `HEADER` bytes: a key of `PILLOW`, a camera's raw kind, or None for what is neither."""
    if header.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if header.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return "WebP"
    if header.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if header.startswith(TIFF):
        return "CR2" if header[8:10] == b"CR" else "TIFF"
    if header.startswith(b"BM") and int.from_bytes(header[14:18], "little") in (12, 40, 52, 56, 64, 108, 124):
        return "BMP"
    if re.match(rb"P[1-6fF][ \t\r\n]\s*(#|-?\d)", header):
        return "PPM"
    if header.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG 2000"
    if header.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JPEG XL"
    if header[4:8] == b"ftyp":
        return kind_of_brands(header)
    return next((name for start, name in RAW.items() if header.startswith(start)), None)


def kind_of_brands(header: bytes) -> str | None:
    """Of an ISO container: by its major brand, or where that is a general one by the first compatible brand that says more
    (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(header[:4], "big"), len(header))
    brands = [header[8:12], *(header[at : at + 4] for at in range(16, end, 4))]
    kinds = [kind for brand in brands for kind, names in BRANDS.items() if brand in names]
    return kinds[0] if kinds else "HEIC" if {b"mif1", b"msf1"} & {*brands} else None


def open_plugin(kind: str, what: str) -> None:
    """Makes Pillow able to read this kind, by the package for it where Pillow itself can't. Raises EditError, naming kind and
    package, where there is none."""
    Image.init()
    if kind not in PACKAGES or (PILLOW[kind] in Image.OPEN and not (kind == "AVIF" and without_avif())):
        return
    module, package = PACKAGES[kind]
    try:
        plugin = importlib.import_module(module)
        if kind == "HEIC":
            plugin.register_heif_opener()
    except Exception as e:  # a package for another Pillow fails in ways of its own
        if PIL.__version__.startswith("9."):
            package = OLD_PILLOW.get(package, package)
        raise EditError(
            f"The {what} is {named(kind)} file: install {package} to read it (pip install {package}), or save it as JPEG."
        ) from e


def without_avif() -> bool:
    """Whether this Pillow knows AVIF by name but was built without it."""
    from PIL import features

    return getattr(Image.OPEN["AVIF"][0], "__module__", "").startswith("PIL.") and not features.check("avif")


def named(kind: str) -> str:
    return f"{'an' if kind[0] in 'AOX' else 'a'} {kind}"


def refuse_raw(kind: str | None, what: str) -> None:
    if kind in CAMERA_RAW or kind == "CR2":
        raise EditError(f"The {what} is {named(kind)}, a camera's raw file: develop it and save it as TIFF, PNG or JPEG first.")


def is_picture(path: Path) -> bool:
    """Whether it can be taken for a picture by its first bytes, whatever its name is; a TGA, which has no signature, by its name too."""
    return reason_against(path) is None


def reason_against(path: Path) -> str | None:
    """Why a file is no picture to edit, in a few words; None for a picture."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a file"
        with path.open("rb") as file:
            header = file.read(HEADER)
            kind = kind_of(header)
            raw = kind if kind in CAMERA_RAW or kind == "CR2" else tiff.raw_name(file) if kind == "TIFF" else None
    except OSError as e:
        return why(e)
    if raw:
        return f"a camera's raw file, {raw}"
    if not header:
        return "empty"
    return None if kind or is_tga(path, header) else "not a picture"


def is_tga(path: Path, header: bytes) -> bool:
    """By its name and by what its header may hold (Truevision TGA 2.0): palette or not, type of picture, bits of a pixel."""
    plausible = len(header) >= 18 and header[1] in (0, 1) and header[2] in (1, 2, 3, 9, 10, 11) and header[16] in (8, 15, 16, 24, 32)
    return plausible and path.suffix.lower() in (".tga", ".icb", ".vda", ".vst")


def pictures_in(folder: Path, recursive: bool = False) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures of a folder, by what they are and not by suffix, in natural order; and what is passed over, each with the reason in
    a few words. Hidden entries are neither. recursive: those of its subfolders too, which are passed over otherwise.

    Raises EditError where the folder can't be read.
    """
    pictures, passed_over = [], []
    for path in sorted(entries(folder, recursive), key=lambda path: natural_order(path.relative_to(folder))):
        reason = "a folder" if path.is_dir() else reason_against(path)
        if reason is None:
            pictures.append(path)
        else:
            passed_over.append((path, reason))
    return pictures, passed_over


def entries(folder: Path, recursive: bool) -> Iterator[Path]:
    """Of a folder, without hidden ones: files and folders, or with `recursive` the files at any depth; links to folders are not followed."""
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as e:
        raise EditError(f"The folder {folder} can't be read: {why(e)}.") from e
    for path in inside:
        if recursive and path.is_dir() and not path.is_symlink():
            yield from entries(path, recursive)
        else:
            yield path


def natural_order(path: Path) -> list[tuple]:
    """Sorts 2 before 10: of every part of a path, text and numbers by turns. Only 0–9 make numbers: ² and ① are digits that `int`
    refuses."""

    def runs(part: str) -> tuple:
        return tuple(int(run) if i % 2 else run for i, run in enumerate(re.split(r"([0-9]+)", part.lower())))

    return [(runs(part), part) for part in path.parts]


def contents_of(path: Path, what: str, max_bytes: int) -> bytes:
    """The file whole, if it may be a picture. Raises EditError for what is not a file, too large, or of no known kind."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise EditError(f"The {what} {path.name} can't be read: it is not a file.")
    with path.open("rb") as file:
        header = file.read(HEADER)
        if not kind_of(header) and not is_tga(path, header):
            raise EditError(f"The {what} can't be read: it is damaged or not a picture.")
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise EditError(f"The {what} is a file of more than {max_bytes >> 20} MB: save it smaller first.")
        return header + file.read(max_bytes)
