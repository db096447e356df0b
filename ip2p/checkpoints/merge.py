"""Add-difference: what makes a checkpoint an edit model, put onto another one. mine + (edit − base), tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from ..errors import EditError
from ..scale_input import KEY
from .beside import with_configuration_of
from .defaults import in_header, metadata_of
from .header import is_safetensors
from .ldm import read_yaml
from .ldm_file import check_supported
from .recognise import EDIT_CHANNELS, FIRST_LAYER, INTEGERS, TEXT_1, UNET, VAE
from .tensors import Weights, stored, write_safetensors

NETWORKS = (UNET, VAE, TEXT_1, KEY)


@dataclass
class Merged:
    """What a merge did: names of tensors by what happened to them.

    added: mine + (edit − base). edit_only: not in mine, or in no base; as in the edit model. mine_only: not in the
    edit model, left out. left_out: EMA weights and whatever is no part of a network.
    """

    added: list[str] = field(default_factory=list)
    edit_only: list[str] = field(default_factory=list)
    mine_only: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def merge(mine: Path, edit: Path, base: Path, output: Path, half: bool = False, force: bool = False) -> Merged:
    """Writes mine + (edit − base) to `output`, a safetensors file with the edit model's tensors in the edit model's precision, and
    beside it the edit model's yaml and text encoder's folder where it has them.

    mine, base: SD 1.x checkpoints; base: what both were trained from. Their first layer of 4 channels is padded with
    zeros to the edit model's 8. Computed in fp32; a few tensors are in memory at a time. Where mine equals base the result
    is the edit model's bits, where the edit model equals base it is mine's. The edit model's defaults come along. Raises EditError when the files do not fit.
    """
    if not is_safetensors(output):
        raise EditError(f"The merged model is a .safetensors file, not {output.name}.")
    with Weights(edit) as e, Weights(mine) as m, Weights(base) as b:
        check(edit, e, edits=True)
        check(mine, m)
        check(base, b)
        in_mine, in_base = named_as(e, m), named_as(e, b)
        done = Merged(mine_only=sorted(name for name in m.tensors if name.startswith(NETWORKS) and name not in in_mine.values()))
        kept = {}
        for name, tensor in e.tensors.items():
            if not name.startswith(NETWORKS):
                done.left_out.append(name)
                continue
            kept[name] = stored(tensor, half)
            adds = name in in_mine and name in in_base and tensor.dtype not in INTEGERS
            (done.added if adds else done.edit_only).append(name)
        for name in done.added:
            for path, shape in ((mine, m.tensors[in_mine[name]].shape), (base, b.tensors[in_base[name]].shape)):
                check_shape(path, name, shape, e.tensors[name].shape)
        added = set(done.added)

        def read(name: str) -> torch.Tensor:
            if name not in added:
                return e.read(name)
            return add_difference(m.read(in_mine[name]), e.read(name), b.read(in_base[name]))

        yaml = edit.with_suffix(".yaml")
        with with_configuration_of(edit, read_yaml(yaml) if yaml.is_file() else {}, output, force, [mine, edit, base]) as place:
            recipe = {"ip2p.merge": f"{mine.name} + ({edit.name} - {base.name})"}
            write_safetensors(place, kept, read, recipe | in_header(metadata_of(edit)))
    return done


def add_difference(mine: torch.Tensor, edit: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """mine + (edit − base) in fp32; of a layer with fewer input channels than the edit model's, the missing ones are zero."""
    mine, edit, base = (tensor.float() for tensor in (mine, edit, base))
    mine, base = padded(mine, edit), padded(base, edit)
    if torch.equal(mine, base):
        return edit
    return (edit - base).add_(mine)  # not in place: pages of the file that are written to stay in memory


def padded(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(out, i, …) → (out, I, …), zeros in the input channels that are new."""
    missing = like.shape[1] - tensor.shape[1] if tensor.ndim == 4 else 0
    return F.pad(tensor, (0, 0, 0, 0, 0, missing)) if missing else tensor


def named_as(edit: Weights, other: Weights) -> dict[str, str]:
    """The edit model's name of a tensor → the other's, which may lack `text_model.` in it, as early SD 1.x files do."""
    names = {}
    for name in edit.tensors:
        for candidate in (name, name.replace("text_model.", ""), name.replace(TEXT_1, TEXT_1 + "text_model.")):
            if candidate in other.tensors:
                names[name] = candidate
                break
    return names


def check(path: Path, weights: Weights, edits: bool = False) -> None:
    """Raises EditError when the file has no UNet, or `edits` and it is no edit model, or it is a model of another kind."""
    check_supported(path, weights)
    first = weights.tensors.get(FIRST_LAYER)
    if first is None or len(first.shape) != 4:
        raise EditError(f"{path} is no checkpoint with a UNet in it.")
    if edits and first.shape[1] != EDIT_CHANNELS:
        raise EditError(f"{path} is no edit model: its UNet has {first.shape[1]} input channels, not {EDIT_CHANNELS}.")
    if not edits and first.shape[1] not in (4, EDIT_CHANNELS):
        raise EditError(f"{path} can't be merged: its UNet has {first.shape[1]} input channels, not 4; is it an inpainting model?")


def check_shape(path: Path, name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """The first layer may have fewer input channels; everything else has one shape in all three."""
    if shape != wanted and not (name == FIRST_LAYER and shape[:1] + shape[2:] == wanted[:1] + wanted[2:]):
        sizes = " but in the edit model ".join("x".join(map(str, s)) for s in (shape, wanted))
        raise EditError(f"{path} is of another family: {name} is {sizes}.")
