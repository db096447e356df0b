"""The header of a safetensors file, read and checked without torch and numpy.

The library's own reading takes 4 times as long for the 1800 tensors of a checkpoint, and in safetensors 0.4.2, which the WebUI
has, 350 times (2.6 s a file), so a folder of checkpoints is listed with this one. It checks what the library checks.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import NamedTuple

MAX_HEADER = 25_000_000  # bytes; a checkpoint's has less than one million
MAX_DIMENSIONS, MAX_SIZE = 64, 1 << 48
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F64": 64, "F32": 32, "F16": 16,
    "BF16": 16, "C64": 64, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


class Tensor(NamedTuple):
    """A tensor as a header describes it. dtype: as safetensors names it, "F16"; "?" when unknown."""

    dtype: str
    shape: tuple[int, ...]


def is_safetensors(path: Path) -> bool:
    """By the suffix, in upper or lower case, as the WebUI decides it."""
    return path.suffix.lower() == ".safetensors"


def safetensors_header(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file, from its JSON header.

    Raises ValueError, TypeError, KeyError or RecursionError when it is damaged: types that are wrong, sizes that are no sizes, data
    that overlap, leave gaps, are not as long as the shape says or do not end where the file ends.
    """
    if not path.is_file():
        raise ValueError(f"{path.name} is not a regular file")
    header, data = read_header(path)
    header.pop("__metadata__", None)
    tensors, places = {}, []
    for name, entry in header.items():
        dtype, shape, (start, end) = entry["dtype"], sizes(entry["shape"]), sizes(entry["data_offsets"])
        if dtype not in BITS:
            raise ValueError(f"{name} is stored as {str(dtype)[:20]}, which is not known")
        if math.prod(shape) * BITS[dtype] != (end - start) * 8:
            raise ValueError(f"{name} does not have the size that its shape says")
        tensors[name] = Tensor(dtype, shape)
        places.append((start, end))
    expected = 0
    for start, end in sorted(places):
        if start != expected:
            raise ValueError(f"the tensors of {path.name} overlap or leave gaps")
        expected = end
    if expected != data:
        raise ValueError(f"{path.name} is cut short or has more than its tensors")
    return tensors


def safetensors_metadata(path: Path) -> dict[str, str]:
    """What the header says beside the tensors, which are not checked. Raises OSError, and ValueError when it is damaged."""
    try:
        metadata = read_header(path)[0].get("__metadata__") or {}
        return {str(key): str(value) for key, value in metadata.items()}
    except (struct.error, AttributeError, RecursionError) as e:
        raise ValueError(f"{path.name} is not a safetensors file") from e


def read_header(path: Path) -> tuple[dict, int]:
    """→ (the JSON, bytes of data behind it)."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(MAX_HEADER, path.stat().st_size - 8):
            raise ValueError(f"{path.name} is not a safetensors file")
        return json.loads(file.read(length)), file.seek(0, 2) - 8 - length


def sizes(values: object) -> tuple[int, ...]:
    """A shape, strides or places: whole numbers, none negative. Raises ValueError for anything else, True and 2.0 among it."""
    if not isinstance(values, (list, tuple)) or len(values) > MAX_DIMENSIONS:
        raise ValueError("a shape is no list of sizes")
    if not all(type(value) is int and 0 <= value <= MAX_SIZE for value in values):
        raise ValueError("a size is no whole number")
    return tuple(values)
