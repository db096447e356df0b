"""Saved states of long runs: written beside, checked by their sums, renamed. Nothing in them is unpickled."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .checkpoints.recognise import sha256
from .errors import EditError
from .files import remove, why, written_whole

NAME = "state-{:08d}"
SUMS = "state.json"


@dataclass(frozen=True)
class State:
    """step: optimizer steps taken. tensors: file → name → tensor. numbers: what else the loop needs, as JSON has it."""

    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    numbers: dict[str, Any]


def write(folder: Path, state: State, keep: int) -> Path:
    """Writes a state and removes all but the `keep` newest. Raises EditError for a full disk."""
    path = folder / NAME.format(state.step)
    with written_whole(path, force=True, ours=("*.safetensors", SUMS)) as beside:
        beside.mkdir()
        for name, tensors in state.tensors.items():
            save_tensors(tensors, beside / f"{name}.safetensors")
        sums = {file.name: sha256(file) for file in sorted(beside.iterdir())}
        (beside / SUMS).write_text(json.dumps({"step": state.step, "numbers": state.numbers, "sha256": sums}, indent=2))
        for file in beside.iterdir():  # a rename must not reach the disk before what it renames
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    for old in [other for other in states(folder) if other != path][keep - 1 :]:  # a torn one may be newer
        remove(old)
    return path


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raises OSError when it can't be written, which safetensors has an error of its own for."""
    try:
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    except SafetensorError as e:
        raise OSError(why(e)) from e


def newest(folder: Path, say: Callable[[str], None]) -> State | None:
    """The newest whole state; a torn one is named through `say` and the one before it is taken."""
    for path in states(folder):
        try:
            return read(path)
        except EditError as e:
            say(str(e))
    return None


def read(path: Path) -> State:
    """Raises EditError when the state is torn."""
    try:
        about = json.loads((path / SUMS).read_text())
        for name, expected in about["sha256"].items():
            if sha256(path / name) != expected:
                raise EditError(f"The saved state {path} is torn ({name} is not what was written): the one before it is used.")
        tensors = {Path(name).stem: load_file(path / name) for name in about["sha256"]}
        return State(about["step"], tensors, about["numbers"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as e:
        raise EditError(f"The saved state {path} is torn ({type(e).__name__}): the one before it is used.") from e


def newest_step(folder: Path) -> int:
    """Of the newest state, torn or not; 0 when there is none."""
    return next((int(path.name.rpartition("-")[2]) for path in states(folder)), 0)


def states(folder: Path) -> list[Path]:
    """Newest first."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in entries if re.fullmatch(r"state-\d{8}", path.name)), reverse=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What an optimizer remembers of every parameter, as “index.name”."""
    moments = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, of_parameter in moments.items() for name, value in of_parameter.items()}


def fill_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        moments.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
