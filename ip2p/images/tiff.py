"""TIFFs that Pillow reads wrong or not at all: deep samples, planes, min-is-white, and those whose first picture is a thumbnail.

Their samples are read by describing the same strips or tiles to Pillow's libtiff as rows of bytes, whatever their compression;
what the bytes mean (byte order, predictor, depth, planes) is worked out here. TIFF 6.0 and its Technical Notes 1 and 3.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, TiffImagePlugin

from ..errors import EditError
from .colour import DEPTH, ROWS, eight_bits, white_level
from .limits import MAX_PIXELS, MAX_SAMPLES, Limits

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS, SAMPLES, ROWS_PER_STRIP, COUNTS = 256, 257, 258, 259, 262, 273, 277, 278, 279
KIND, ORIENTATION, PLANAR, PREDICTOR = 254, 274, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE, DNG_VERSION, MAKE = 330, 338, 339, 34675, 50706, 271
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
SENSOR = (32803, 34892)  # photometric: a sensor's colour filter, and its linear values
BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)  # compressions that know bytes alone: none, LZW, Deflate, PackBits, LZMA, Zstandard
ASSOCIATED, UNASSOCIATED = 1, 2  # alpha: premultiplied or not
TRANSPOSED = dict(
    zip(range(2, 9), ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"))
)
MAX_DIRECTORIES = 64


@dataclass(frozen=True)
class Directory:
    """One picture of a file. at: its offset; tags: as Pillow reads them."""

    at: int
    tags: TiffImagePlugin.ImageFileDirectory_v2

    def many(self, tag: int, default: int = 0) -> tuple:
        value = self.tags.get(tag, default)
        return value if isinstance(value, tuple) else (value,)

    def one(self, tag: int, default: int = 0) -> int:
        return int(self.many(tag, default)[0])

    @property
    def pixels(self) -> int:
        return self.one(WIDTH) * self.one(HEIGHT)


def directories(file: IO[bytes]) -> list[Directory]:
    """Of all pictures in a file, the first one first; what is damaged ends the list."""
    file.seek(0)
    start = file.read(8)
    start += file.read(8) if start[2:3] == b"+" or start[3:4] == b"+" else b""
    found: list[Directory] = []
    try:
        ahead = [TiffImagePlugin.ImageFileDirectory_v2(start).next]
        while ahead and len(found) < MAX_DIRECTORIES:
            at = ahead.pop(0)
            if not at or any(at == directory.at for directory in found):
                continue
            tags = TiffImagePlugin.ImageFileDirectory_v2(start)
            file.seek(at)
            tags.load(file)
            directory = Directory(at, tags)
            found.append(directory)
            ahead += [*map(int, directory.many(SUB_DIRECTORIES)), tags.next or 0]
    except Exception:  # of any kind: it is a stranger's file
        if not found:
            raise
    return found


def raw_name(file: IO[bytes]) -> str | None:
    """DNG, or the camera's maker, where a TIFF is a camera's raw file; None for a picture or what can't be read."""
    try:
        all_of_them = directories(file)
    except Exception:
        return None
    return raw_name_of(all_of_them)


def raw_name_of(all_of_them: list[Directory]) -> str | None:
    if any(DNG_VERSION in directory.tags for directory in all_of_them):
        return "DNG"
    if any(directory.one(PHOTOMETRIC, -1) in SENSOR for directory in all_of_them):
        maker = "".join(c for c in str(all_of_them[0].tags.get(MAKE, "")) if c.isprintable()).strip()
        return f"of {maker[:40]}" if maker else "of a kind without a name"
    return None


def full_picture(data: bytes, what: str) -> tuple[bytes, Directory]:
    """The file with the picture to read as its first one, and that picture's directory: the largest where the first is marked as a
    thumbnail. Raises EditError for a camera's raw file."""
    all_of_them = directories(io.BytesIO(data))
    if name := raw_name_of(all_of_them):
        name = name if name == "DNG" else f"raw file {name}"
        raise EditError(f"The {what} is a {name}: a camera's raw file is developed and saved as TIFF, PNG or JPEG first.")
    first = all_of_them[0]
    if not first.one(KIND) & 1:
        return data, first
    whole = [directory for directory in all_of_them if not directory.one(KIND) & 1] or [first]
    largest = max(whole, key=lambda directory: directory.pixels)
    return starting_at(data, largest.at), largest


def starting_at(data: bytes, at: int) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    return data[:8] + struct.pack(order + "Q", at) + data[16:] if big else data[:4] + struct.pack(order + "L", at) + data[8:]


def check_tiles(directory: Directory, what: str) -> None:
    """Raises EditError for tiles that are larger than any picture we read: they are decoded whole."""
    if directory.one(TILE_WIDTH) * directory.one(TILE_HEIGHT) > MAX_PIXELS:
        raise EditError(f"The {what} can't be read: its tiles are larger than 64 megapixels.")


def is_ours(directory: Directory) -> bool:
    """Whether its samples are read here: grey or RGB, deep or in a layout that Pillow does not know."""
    bits, samples = directory.many(BITS, 1), directory.one(SAMPLES, 1)
    photometric = directory.one(PHOTOMETRIC, -1)
    known = photometric in (MIN_IS_WHITE, MIN_IS_BLACK, RGB) and directory.one(COMPRESSION, 1) in BYTEWISE and len({*bits}) == 1
    deep = bits[0] in (16, 32, 64)
    return known and (deep or (bits[0] == 8 and photometric != RGB and samples > 1))


def read(data: bytes, directory: Directory, what: str, limits: Limits) -> Image.Image:
    """→ L, LA, RGB, RGBA or RGBa, 8 bits, upright, with its profile. Raises EditError, or ValueError and the like where it is damaged."""
    width, height, samples = directory.one(WIDTH), directory.one(HEIGHT), directory.one(SAMPLES, 1)
    limits.check_size(width, height, what)
    kind = sample_type(directory)
    if width * height * samples * kind.itemsize > MAX_SAMPLES:
        raise EditError(f"The {what} has {samples} samples of {kind.itemsize * 8} bits a pixel: save it with 8 or 16 bits to edit it.")
    colours = 3 if directory.one(PHOTOMETRIC) == RGB else 1
    if samples < colours or min(width, height) < 1:
        raise ValueError("a colour picture without its colours")
    extra = directory.many(EXTRA_SAMPLES)[0] if samples > colours else 0
    channels = colours + (extra in (ASSOCIATED, UNASSOCIATED))
    deep = Samples(data, directory, kind, channels)
    white = white_level(deep)
    levels = np.concatenate([eight_bits(rows, white) for rows in deep.blocks()])
    if directory.one(PHOTOMETRIC) == MIN_IS_WHITE:
        levels[..., 0] = 255 - levels[..., 0]
    image = picture_of(levels, extra)
    if method := TRANSPOSED.get(directory.one(ORIENTATION, 1)):
        image = image.transpose(Image.Transpose[method])
    image.info[DEPTH] = kind.itemsize * 8
    if profile := directory.tags.get(PROFILE):
        image.info["icc_profile"] = profile
    return image


def sample_type(directory: Directory) -> np.dtype:
    order = "<" if directory.tags.prefix == b"II" else ">"
    letter = {1: "u", 2: "i", 3: "f"}.get(directory.one(SAMPLE_FORMAT, 1), "u")
    return np.dtype(f"{order}{letter}{directory.one(BITS, 1) // 8}")


def picture_of(levels: np.ndarray, extra: int) -> Image.Image:
    """levels: (h, w, 1 to 4), uint8; extra: the tag's value for what comes after the colours."""
    size = levels.shape[1::-1]
    if levels.shape[2] == 2 and extra == ASSOCIATED:
        levels = levels[..., [0, 0, 0, 1]]
    mode = ("L", "LA", "RGB", "RGBa" if extra == ASSOCIATED else "RGBA")[levels.shape[2] - 1]
    return Image.frombytes(mode, size, levels.tobytes())


class Samples:
    """The samples of a picture, some rows at a time; as `white_level` takes an array."""

    def __init__(self, data: bytes, directory: Directory, dtype: np.dtype, channels: int):
        self.directory, self.kind = directory, dtype
        self.dtype = dtype.newbyteorder("=")
        samples = directory.one(SAMPLES, 1)
        self.separate = directory.one(PLANAR, 1) == 2 and samples > 1
        self.together = 1 if self.separate else samples  # samples that stand side by side
        width = directory.one(WIDTH)
        self.tile = directory.one(TILE_WIDTH) or width
        self.width, self.whole_width = width, -(-width // self.tile) * self.tile  # a predictor goes over the whole tile
        self.shape = (directory.one(HEIGHT), width, channels)
        self.size = int(np.prod(self.shape))
        self.planes = [rows_of_bytes(data, directory, self, plane) for plane in range(channels if self.separate else 1)]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        planes = [self._samples(plane[rows]) for plane in self.planes]
        return np.concatenate(planes, axis=2)[:, : self.width, : self.shape[2]]

    def blocks(self) -> Iterator[np.ndarray]:
        for top in range(0, len(self), ROWS):
            yield self[top : top + ROWS]

    def _samples(self, rows: np.ndarray) -> np.ndarray:
        """rows: (n, bytes of a whole row) → (n, whole width, together), the predictor undone tile by tile."""
        n, predictor = len(rows), self.directory.one(PREDICTOR, 1) if self.directory.one(COMPRESSION, 1) not in (1, 32773) else 1
        tiles = rows.reshape(n, -1, self.tile * self.together * self.kind.itemsize)
        if predictor == 3:  # TIFF Technical Note 3: differences of bytes, the most significant ones of the whole row first
            steps = tiles.reshape(n, tiles.shape[1], -1, self.together)
            summed = np.cumsum(steps, axis=2, dtype=np.uint8).reshape(n, tiles.shape[1], self.kind.itemsize, -1)
            values = np.ascontiguousarray(np.moveaxis(summed, 2, 3)).view(self.kind.newbyteorder(">")).astype(self.dtype)
        elif predictor == 2:
            unsigned = np.dtype(f"u{self.kind.itemsize}")
            steps = tiles.view(unsigned.newbyteorder(self.kind.byteorder)).reshape(n, tiles.shape[1], self.tile, self.together)
            values = np.cumsum(steps, axis=2, dtype=unsigned).view(self.dtype)
        else:
            values = tiles.view(self.kind).astype(self.dtype)
        return values.reshape(n, self.whole_width, self.together)


def rows_of_bytes(data: bytes, directory: Directory, layout: Samples, plane: int) -> np.ndarray:
    """The bytes of one plane, (h, bytes of a whole row), by Pillow's libtiff: as if they were a grey picture of 8 bits."""
    bytes_of = layout.together * layout.kind.itemsize
    tags = {WIDTH: [layout.whole_width * bytes_of], HEIGHT: [len(layout)], BITS: [8], COMPRESSION: [directory.one(COMPRESSION, 1)]}
    tags |= {PHOTOMETRIC: [MIN_IS_BLACK], SAMPLES: [1]}
    if TILE_OFFSETS in directory.tags:
        tags |= {TILE_WIDTH: [layout.tile * bytes_of], TILE_HEIGHT: [directory.one(TILE_HEIGHT)]}
        offsets, counts = TILE_OFFSETS, TILE_COUNTS
    else:
        tags[ROWS_PER_STRIP] = [min(directory.one(ROWS_PER_STRIP, len(layout)), len(layout))]
        offsets, counts = OFFSETS, COUNTS
    for tag in (offsets, counts):
        values = directory.many(tag)
        each = len(values) // directory.one(SAMPLES, 1) if layout.separate else len(values)
        tags[tag] = [int(value) for value in values[plane * each : (plane + 1) * each]]
    described = b"II*\0" + struct.pack("<L", len(data)) + data[8:] + directory_bytes(tags, len(data))
    with Image.open(io.BytesIO(described), formats=["TIFF"]) as image:
        return np.asarray(image)


def directory_bytes(tags: dict[int, list[int]], at: int) -> bytes:
    """A little-endian directory of whole numbers, to be written at offset `at`."""
    entries, values = [], b""
    after = at + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}L", *numbers)
        if len(numbers) > 1:
            packed, values = struct.pack("<L", after + len(values)), values + packed
        entries.append(struct.pack("<HHL", tag, 4, len(numbers)) + packed)
    return struct.pack("<H", len(tags)) + b"".join(entries) + struct.pack("<L", 0) + values
