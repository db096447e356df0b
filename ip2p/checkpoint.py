"""Recognising edit checkpoints from their header, without loading them and without running what is in them."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from functools import lru_cache
from pathlib import Path

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
EDIT_CHANNELS = 8  # four of the noised latent, four of the picture's
MAX_HEADER = 100_000_000


def is_edit_checkpoint(path: str | Path) -> bool:
    """Whether a `.safetensors` or `.ckpt` file in LDM format has a UNet of eight input channels.

    Reads the header only (safetensors) or the pickle's structure with nothing of it called (ckpt); False for files that
    are missing, damaged or of another kind. Remembered by path, size and time of change.
    """
    path = Path(path)
    try:
        stat = path.stat()
        return _is_edit_checkpoint(path, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _is_edit_checkpoint(path: Path, size: int, changed: int) -> bool:
    try:
        shape = first_layer_shape(path)
    except Exception:  # a damaged pickle or archive raises nearly anything
        return False
    return shape is not None and len(shape) == 4 and shape[1] == EDIT_CHANNELS


def first_layer_shape(path: Path) -> tuple[int, ...] | None:
    """Shape of the UNet's first layer, (out, in, 3, 3), or None when the file has none. Raises ValueError and others when damaged."""
    shapes = safetensors_shapes(path) if path.suffix == ".safetensors" else pickle_shapes(path)
    return shapes.get(FIRST_LAYER)


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, from the JSON header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > MAX_HEADER:
            raise ValueError(f"{path.name} is not a safetensors file")
        header = json.loads(file.read(length))
        data = file.seek(0, 2) - 8 - length
    header.pop("__metadata__", None)
    if any(entry["data_offsets"][1] > data for entry in header.values()):
        raise ValueError(f"{path.name} is cut short")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


class _Inert:
    """Stands for every class and function a pickle names: takes any call and any state, does nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return _Inert()

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def append(self, value):
        pass

    extend = update = add = append


class _Dict(dict):
    """For OrderedDict: takes the attributes that torch pickles with a state dict."""


def _shape_of_tensor(storage, offset, size, *rest):
    return tuple(size)


class _ShapeReader(pickle.Unpickler):
    """Reads the structure of a pickle: nothing it names is imported or called."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _shape_of_tensor
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return lambda data, *rest: data
        return _Inert

    def persistent_load(self, pid):
        return None


def pickle_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a torch zip archive (`.ckpt`, `.pt`); older formats raise BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        with archive.open(name) as file:
            content = _ShapeReader(file).load()
    content = content.get("state_dict", content)
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, tuple)}
