"""LoRA files (Hu et al., arXiv 2106.09685): as they are asked for, and recognised by their header."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import EditError
from .header import is_safetensors, safetensors_header
from .recognise import check_file

MAX_WEIGHT = 10.0
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
LCM = re.compile(r"(?<![a-z])lcm", re.IGNORECASE)
OTHER_FAMILIES = (1024, 2048)  # widths of the text that the networks of SD 2.x and SDXL take


@dataclass(frozen=True)
class Lora:
    """A LoRA to add to a model's weights, multiplied by `weight`. Raises EditError for what is no safetensors file or no weight."""

    file: Path
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and abs(self.weight) <= MAX_WEIGHT):
            raise EditError(f"The weight of a LoRA is between {-MAX_WEIGHT:g} and {MAX_WEIGHT:g}, not {self.weight:g}.")
        check_file(self.file)
        if not is_safetensors(self.file):
            raise EditError(f"{self.file} is no .safetensors file: a LoRA is read from nothing else, since other kinds can hold programs.")

    @property
    def tag(self) -> str:
        """As the WebUI's prompts name it."""
        return f"<lora:{self.file.stem}:{self.weight:g}>"


def lora_named(text: str) -> Lora:
    """“FILE” or “FILE:WEIGHT”. Raises EditError as `Lora`."""
    file, _, weight = text.rpartition(":")
    if file and NUMBER.fullmatch(weight) and not Path(text).expanduser().exists():
        return Lora(Path(file).expanduser(), float(weight))
    return Lora(Path(text).expanduser())


def says_lcm(names: Iterable[str]) -> bool:
    """Whether one of a LoRA's names says that it is of a latent consistency model (LCM-LoRA, arXiv 2311.05556)."""
    return any(LCM.search(name) for name in names)


def is_of_sd1(file: Path) -> bool:
    """Whether a LoRA is of no other family of models than SD 1.x, by the text that its tensors take; False where it can't be read."""
    try:
        tensors = safetensors_header(file)
    except Exception:  # a damaged header raises nearly anything
        return False
    down = (tensor.shape for name, tensor in tensors.items() if re.search(r"attn2.to_k.*lora(_down|_A|\.down)", name))
    return not any(len(shape) > 1 and shape[1] in OTHER_FAMILIES for shape in down)
