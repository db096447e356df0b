"""JPEG and PNG files that every viewer shows and Pillow refuses, and JPEGs that take too long."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from ..errors import EditError
from .limits import MAX_PIXELS, MAX_SCANS

END_OF_JPEG = b"\xff\xd9"
# What an unfinished scan would take for pixels, and a finished one passes over: irregular, and without 0xFF.
FILLER = bytes((151 * i * i + 97 * i + 200) % 255 for i in range(4096))
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # outside 0xFF00, fill bytes and restarts
START_OF_SCAN, END = 0xDA, 0xD9

START_OF_JXL = b"\xff\x0a"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
MAX_PROFILE = 2**24  # bytes


def scans_of(jpeg: bytes) -> int:
    """How many scans the first picture of a JPEG has; damage ends the count."""
    scans, at = 0, 2
    while found := MARKER.search(jpeg, at):
        marker, at = jpeg[found.start() + 1], found.end()
        if marker == END:
            break
        scans += marker == START_OF_SCAN
        at += int.from_bytes(jpeg[at : at + 2], "big")
    return scans


def check_scans(jpeg: bytes, size: tuple[int, int], what: str) -> None:
    """Raises EditError for a progressive JPEG that was made to keep a decoder busy: each scan goes over the whole picture."""
    scans = scans_of(jpeg)
    if scans * size[0] * size[1] > MAX_SCANS * MAX_PIXELS:
        raise EditError(f"The {what} is a JPEG of {scans} scans, which would take too long to read: save it again.")


def with_end(jpeg: bytes) -> tuple[bytes, bytes]:
    """Two JPEGs from one that lacks its end mark: they show the same picture if its last scan is whole, for what comes after
    it is then passed over, and different ones if pixels are missing."""
    jpeg = jpeg.rstrip(b"\xff")
    return jpeg + END_OF_JPEG, jpeg + FILLER + END_OF_JPEG


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Of every chunk of a PNG: its kind, its content and all of it. Ends where the file does."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length], png[at : at + 12 + length]
        at += 12 + length


def without_texts(png: bytes) -> tuple[bytes, bytes | None]:
    """A PNG's pixels alone, and its colour profile: Pillow refuses texts and profiles of more than a megabyte."""
    kept = PNG_SIGNATURE + b"".join(whole for kind, _, whole in chunks(png) if kind in NEEDED)
    return kept, next((profile_in(content) for kind, content, _ in chunks(png) if kind == b"iCCP"), None)


def profile_in(content: bytes) -> bytes | None:
    """content: of a chunk iCCP: a name, 0, the method 0, a zlib stream."""
    try:
        profile = zlib.decompressobj().decompress(content.partition(b"\0")[2][1:], MAX_PROFILE + 1)
    except zlib.error:
        return None
    return profile if len(profile) <= MAX_PROFILE else None


def jxl_size(jxl: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG XL as it is stored, from its header (ISO/IEC 18181-1, D.2). Raises ValueError where there is none."""
    at = 0
    if not jxl.startswith(START_OF_JXL):  # in boxes: all of it in one, or in parts that each begin with their number
        box = re.search(rb"jxlc|jxlp.{4}", jxl[:65536], re.DOTALL)
        at = box.end() if box else len(jxl)
    stream = jxl[at : at + 16]
    if not stream.startswith(START_OF_JXL):
        raise ValueError("a JPEG XL without its beginning")
    bits, place = int.from_bytes(stream[2:], "little"), 0

    def take(count: int) -> int:
        nonlocal place
        value = bits >> place & ((1 << count) - 1)
        place += count
        return value

    def side(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    if not ratio:
        return side(small), height
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * numerator // denominator, height
