"""A student's file with other usual scales in its weights, for hosts that can't tell it any (`scale_input.py`)."""

from __future__ import annotations

from pathlib import Path

import torch

from ..edit import MAX_SCALE, check_number
from ..errors import EditError
from ..scale_input import difference, shift
from .beside import with_configuration_of
from .defaults import IMAGE, PREFIX, TEXT
from .header import is_safetensors, safetensors_metadata
from .ldm_file import params_of
from .student import FIRST, student_in
from .tensors import Weights, write_safetensors


def bake(file: Path, output: Path, text_scale: float | None, image_scale: float | None, force: bool = False) -> tuple[float, float]:
    """Writes the student in `file` with other usual scales, those of before for None → both of them. For WebUIs without this extension.

    b₁ + W₁·P·(w − w′) in place of the first layer's bias b₁; everything else is kept bit for bit, and what lies beside the file comes along.
    Raises EditError when the file is no student.
    """
    if not is_safetensors(output):
        raise EditError(f"The baked model is a .safetensors file, not {output.name}.")
    if file.is_dir():
        raise EditError(f"{file} is a folder: convert it to a file first.")
    student = student_in(file)
    if student is None:
        raise EditError(f"{file} is no student: it makes an edit in three passes, at any scales that its host is asked for.")
    asked = [usual if scale is None else scale for scale, usual in zip((text_scale, image_scale), student.baked)]
    for name, scale in zip(("text scale", "image scale"), asked):
        check_number(name, scale, 0, MAX_SCALE)
    with Weights(file) as weights:

        def read(name: str) -> torch.Tensor:
            value = weights.read(name)
            if name != f"{FIRST}.bias":
                return value
            features = difference(torch.tensor([asked]), student.baked)
            return (value.float() + shift(student.projection, weights.read(f"{FIRST}.weight"), features)[0]).to(value.dtype)

        metadata = safetensors_metadata(file) | {PREFIX + key: f"{scale:g}" for key, scale in zip((TEXT, IMAGE), asked)}
        with with_configuration_of(file, params_of(file, weights), output, force, [file]) as place:
            write_safetensors(place, weights.tensors, read, metadata)
    return asked[0], asked[1]
