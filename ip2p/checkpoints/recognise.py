"""Recognising and describing checkpoints from their header, without loading them and without running what is in them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import EditError
from .header import Tensor, is_safetensors, safetensors_header
from .pickles import torch_file

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
CLIP_FILES = (  # of a .clip folder, by which it is recognised as ours
    "config.json", VOCABULARY, MERGES, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
CLIP_PLACE = "model.params.cond_stage_config.params.version"  # where a checkpoint's yaml names that folder
EDIT_CHANNELS = 8  # four of the noised latent, four of the picture's
UNET, VAE, EMA = "model.diffusion_model.", "first_stage_model.", "model_ema."
TEXT_1, TEXT_2, TEXT_XL = "cond_stage_model.transformer.", "cond_stage_model.model.", "conditioner.embedders."
PRECISIONS = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
INTEGERS = ("I64", "I32", "I16", "I8", "U8", "BOOL", "U16", "U32", "U64")
# Eight input channels, and no edit model that this extension can use; each with a sentence that begins with its name.
COSXL = "CosXL-Edit, which is trained on other noise levels than SDXL's, is not supported yet"
ZERO123 = "Stable Zero123 turns objects around and takes no instruction"
VIDEO = "Stable Video Diffusion makes videos and takes no instruction"


class Kind(NamedTuple):
    """edits: whether edits are possible with it. refusal: why not, for a checkpoint that has an edit model's first layer."""

    edits: bool
    refusal: str | None


def is_edit_checkpoint(path: str | Path) -> bool:
    """Whether a `.safetensors` or `.ckpt` file in LDM format is an edit model: its UNet has eight input channels and `refusal_of`
    knows nothing against it.

    Reads the header only (safetensors) or the pickle's structure with nothing of it called (ckpt); False for files that
    are missing, damaged or of another kind. Remembered by path, size and time of change.
    """
    return kind_of(path).edits


def refusal(path: str | Path) -> str | None:
    """Why a checkpoint file can't be edited with although its network looks like an edit model's, in a sentence without its end;
    None for every other file, edit models among them. Remembered like `is_edit_checkpoint`."""
    return kind_of(path).refusal


def kind_of(path: str | Path) -> Kind:
    try:
        stat = Path(path).stat()
        return _kind_of(Path(path), stat.st_size, stat.st_mtime_ns)
    except OSError:
        return Kind(False, None)


@lru_cache(maxsize=1024)
def _kind_of(path: Path, size: int, changed: int) -> Kind:
    try:
        tensors = tensors_of(path)
    except Exception:  # a damaged pickle or archive raises nearly anything
        return Kind(False, None)
    first = tensors.get(FIRST_LAYER)
    if first is None or len(first.shape) != 4 or first.shape[1] != EDIT_CHANNELS:
        return Kind(False, None)
    against = refusal_of(tensors)
    return Kind(against is None, against)


def refusal_of(names: Collection[str]) -> str | None:
    """By the names of its tensors: why a network of eight input channels is no edit model of ours, or None."""
    if "edm_vpred.sigma_max" in names:
        return COSXL
    for name in names:
        if name.startswith(("cc_projection.", "cond_stage_model.model.visual.")):
            return ZERO123
        if ".time_stack." in name or ".time_mixer." in name:
            return VIDEO
    return None


def first_layer_shape(path: Path) -> tuple[int, ...] | None:
    """Shape of the UNet's first layer, (out, in, 3, 3), or None when the file has none. Raises ValueError and others when damaged."""
    first = tensors_of(path).get(FIRST_LAYER)
    return first and first.shape


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors` file or of a torch file. Raises ValueError and others when damaged."""
    if is_safetensors(path):
        return safetensors_header(path)
    return {name: view.tensor for name, view in torch_file(path).views.items()}


def describe(path: str | Path, with_hash: bool = False) -> dict[str, str | int | bool | None]:
    """What a checkpoint is, from its header alone: `{file, bytes, format, family, edit, input_channels, precision, ema, tensors}`.

    family: "SD 1.x", "SD 2.x", "SDXL" or None for another kind. precision: of most of the network's weights, "fp16";
    "mixed" when a tenth of them has another. with_hash adds `sha256` of the file and `short_hash`, its first ten digits,
    by which the WebUI names it. `refusal` is there for a network of eight input channels that can't be used: why.
    Raises EditError with a sentence when the file can't be read.
    """
    path = Path(path)
    check_file(path)
    try:
        tensors = tensors_of(path)
        first = tensors.get(FIRST_LAYER)
        channels = first.shape[1] if first and len(first.shape) == 4 else None
        against = refusal_of(tensors) if channels == EDIT_CHANNELS else None
        description: dict[str, str | int | bool | None] = {
            "file": path.name,
            "bytes": path.stat().st_size,
            "format": "safetensors" if is_safetensors(path) else "pickle",
            "family": family_of(tensors) if first and against in (None, COSXL) else None,
            "edit": channels == EDIT_CHANNELS and against is None,
            "input_channels": channels,
            "precision": precision_of(tensors),
            "ema": any(name.startswith(EMA + "diffusion_model") for name in tensors),
            "tensors": len(tensors),
            **({"refusal": against} if against else {}),
        }
    except Exception as e:  # a damaged pickle or archive raises nearly anything
        raise EditError(f"{path} can't be read: it is damaged, cut short or no checkpoint.") from e
    if with_hash:
        digest = sha256(path)
        description |= {"sha256": digest, "short_hash": digest[:10]}
    return description


def check_file(path: Path) -> None:
    """Raises EditError unless the path is a regular file."""
    if path.is_dir():
        raise EditError(f"{path} is a folder, not a checkpoint file.")
    if not path.is_file():
        raise EditError(f"{path} is not a regular file." if path.exists() else f"There is no file {path}.")


def family_of(tensors: Mapping[str, Tensor]) -> str | None:
    """By the text encoder; in a file without one by the width of the text that the UNet takes: 768, 1024 or 2048."""
    for family, prefix in (("SD 1.x", TEXT_1), ("SD 2.x", TEXT_2), ("SDXL", TEXT_XL)):
        if any(name.startswith(prefix) for name in tensors):
            return family
    width = next((t.shape[-1] for name, t in tensors.items() if name.endswith("attn2.to_k.weight") and t.shape), 0)
    return {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}.get(width)


def precision_of(tensors: Mapping[str, Tensor]) -> str | None:
    """fp32, fp16, …, of the plain weights; "mixed" when a tenth of them has another; None for no weights."""
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if not name.startswith(EMA) and tensor.dtype not in INTEGERS:
            counts[PRECISIONS.get(tensor.dtype, "unknown")] += math.prod(tensor.shape)
    if not counts:
        return None
    name, most = counts.most_common(1)[0]
    return name if most >= 0.9 * sum(counts.values()) else "mixed"


def sha256(path: Path) -> str:
    """Of the whole file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
