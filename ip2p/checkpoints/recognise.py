"""Recognising and describing checkpoints from their header, without loading them and without running what is in them."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import struct
import zipfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
EDIT_CHANNELS = 8  # four of the noised latent, four of the picture's
MAX_HEADER = 100_000_000
UNET, VAE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
TEXT_1, TEXT_2, TEXT_XL = "cond_stage_model.transformer.", "cond_stage_model.model.", "conditioner.embedders."
PRECISIONS = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
INTEGERS = ("I64", "I32", "I16", "I8", "U8", "BOOL")
STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "LongStorage": "I64",
    "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip


class Tensor(NamedTuple):
    """What a header tells of a tensor. dtype: as safetensors names it, "F16"; "?" when unknown. start: its place after the header, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0


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
    first = tensors_of(path).get(FIRST_LAYER)
    return first and first.shape


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors` file or of a torch archive. Raises ValueError and others when damaged."""
    return safetensors_header(path)[0] if path.suffix == ".safetensors" else pickle_tensors(path)


def safetensors_header(path: Path) -> tuple[dict[str, Tensor], int]:
    """Every tensor, and the byte at which their data begins, from the JSON header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > MAX_HEADER:
            raise ValueError(f"{path.name} is not a safetensors file")
        header = json.loads(file.read(length))
        data = file.seek(0, 2) - 8 - length
    header.pop("__metadata__", None)
    if any(entry["data_offsets"][1] > data for entry in header.values()):
        raise ValueError(f"{path.name} is cut short")
    tensors = {name: Tensor(entry["dtype"], tuple(entry["shape"]), entry["data_offsets"][0]) for name, entry in header.items()}
    return tensors, 8 + length


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


class _Storage(_Inert):
    """Stands for a storage class of torch, whose name tells the precision."""

    dtype = "?"


def _tensor(storage, offset, size, *rest):
    return Tensor(getattr(storage, "dtype", "?"), tuple(size))


class _ShapeReader(pickle.Unpickler):
    """Reads the structure of a pickle: nothing it names is imported or called."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _tensor
        if module == "torch._utils" and name.startswith("_rebuild_parameter"):
            return lambda data, *rest: data
        if module == "torch" and name in STORAGES:
            return type(name, (_Storage,), {"dtype": STORAGES[name]})
        return _Inert

    def persistent_load(self, pid):
        kind = pid[1] if isinstance(pid, tuple) and len(pid) > 1 else None
        return kind if isinstance(kind, type) and issubclass(kind, _Storage) else None


def pickle_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a torch zip archive (`.ckpt`, `.pt`); older formats raise BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        with archive.open(name) as file:
            content = _ShapeReader(file).load()
    content = content.get("state_dict", content)
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}


def describe(path: str | Path, with_hash: bool = False) -> dict:
    """What a checkpoint is, from its header alone: `{file, bytes, format, family, edit, input_channels, precision, ema, tensors}`.

    family: "SD 1.x", "SD 2.x", "SDXL" or None for another kind. precision: of most of the network's weights, "fp16";
    "mixed" when a tenth of them has another. with_hash adds `sha256` of the file and `short_hash`, its first ten digits,
    by which the WebUI names it. Raises EditError with a sentence when the file can't be read.
    """
    path = Path(path)
    if not path.is_file():
        raise error(f"{path} is a folder, not a checkpoint file." if path.is_dir() else f"There is no file {path}.")
    try:
        tensors = tensors_of(path)
        first = tensors.get(FIRST_LAYER)
        channels = first.shape[1] if first and len(first.shape) == 4 else None
        found = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "format": "safetensors" if path.suffix == ".safetensors" else "pickle",
            "family": family_of(tensors) if first else None,
            "edit": channels == EDIT_CHANNELS,
            "input_channels": channels,
            "precision": precision_of(tensors),
            "ema": any(name.startswith(EMA + "diffusion_model") for name in tensors),
            "tensors": len(tensors),
        }
    except Exception as e:  # a damaged pickle or archive raises nearly anything
        raise error(f"{path} can't be read: it is damaged, cut short or no checkpoint.") from e
    if with_hash:
        found["sha256"] = sha256(path)
        found["short_hash"] = found["sha256"][:10]
    return found


def error(sentence: str) -> Exception:
    """An EditError, whose module loads torch: this one does without until something is wrong."""
    from ..errors import EditError

    return EditError(sentence)


def family_of(tensors: dict[str, Tensor]) -> str | None:
    """By the text encoder; in a file without one by the width of the text that the UNet takes: 768, 1024 or 2048."""
    for family, prefix in (("SD 1.x", TEXT_1), ("SD 2.x", TEXT_2), ("SDXL", TEXT_XL)):
        if any(name.startswith(prefix) for name in tensors):
            return family
    width = next((t.shape[-1] for name, t in tensors.items() if name.endswith("attn2.to_k.weight")), None)
    return {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}.get(width)


def precision_of(tensors: dict[str, Tensor]) -> str | None:
    """fp32, fp16, …, of the plain weights; "mixed" when a tenth of them has another; None for no weights."""
    counts = Counter()
    for name, tensor in tensors.items():
        if not name.startswith(EMA) and tensor.dtype not in INTEGERS:
            counts[PRECISIONS.get(tensor.dtype, "unknown")] += math.prod(tensor.shape)
    if not counts:
        return None
    name, most = counts.most_common(1)[0]
    return name if most >= 0.9 * counts.total() else "mixed"


def sha256(path: Path) -> str:
    """Of the whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
