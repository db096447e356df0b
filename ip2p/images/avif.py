"""The rotation and mirroring that an AVIF asks for, which some decoders leave to their callers (ISO/IEC 23008-12, 6.5.10 and 6.5.12)."""

from __future__ import annotations

from collections.abc import Iterator

# EXIF's orientation by quarter turns (anticlockwise), without mirroring, or after them mirrored top to bottom or left to right.
ORIENTATIONS = {None: (1, 8, 3, 6), 0: (4, 5, 2, 7), 1: (2, 7, 4, 5)}


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of every box in data[start:end]. Damage ends them."""
    while start + 8 <= end:
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        size = size or end - start
        if size < header or start + size > end:
            return
        yield kind, start + header, start + size
        start += size


def inside(data: bytes, path: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Where the content of the box at `path` is, through the first box of each kind."""
    start, end = 0, len(data)
    for kind in path:
        place = next(((a, b) for name, a, b in boxes(data, start, end) if name == kind), None)
        if place is None:
            return None
        start, end = place[0] + (4 if kind == b"meta" else 0), place[1]  # a full box: version and flags
    return start, end


def orientation(data: bytes) -> int:
    """EXIF's number, 1 to 8, for how the main picture is to be turned. 1 where nothing is said, or the file is damaged."""
    container, primary = inside(data, (b"meta", b"iprp", b"ipco")), inside(data, (b"meta", b"pitm"))
    associations = inside(data, (b"meta", b"iprp", b"ipma"))
    if not (container and primary and associations):
        return 1
    wide = data[primary[0]]  # its version
    item = int.from_bytes(data[primary[0] + 4 : primary[0] + (8 if wide else 6)], "big")
    properties = list(boxes(data, *container))
    turns, mirrored = 0, None
    for index in indices_of(data, *associations, item):
        if not 0 < index <= len(properties):
            continue
        kind, start, _ = properties[index - 1]
        if kind == b"irot":
            turns = data[start] & 3
        elif kind == b"imir":
            mirrored = data[start] & 1
    return ORIENTATIONS[mirrored][turns]


def indices_of(data: bytes, start: int, end: int, item: int) -> list[int]:
    """Which properties an item has, counted from 1, by a box `ipma`."""
    version, wide = data[start], data[start + 3] & 1
    at, indices = start + 8, []
    while at < end:
        id_bytes = 4 if version else 2
        this, count = int.from_bytes(data[at : at + id_bytes], "big"), data[at + id_bytes] if at + id_bytes < end else 0
        at += id_bytes + 1
        step = 2 if wide else 1
        if this == item:
            indices += [
                int.from_bytes(data[place : place + step], "big") & (0x7FFF if wide else 0x7F)
                for place in range(at, min(at + step * count, end), step)
            ]
        at += step * count
    return indices
