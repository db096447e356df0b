"""The fields of the page's settings by name, and what an `Edit` takes of their values."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from ..checkpoints.defaults import ModelDefaults
from ..edit import random_scales
from ..errors import EditError
from ..where import MASK, NAME, Where
from ..wording import CUSTOM

FIXED, DRAWN = "Fixed", "Random"
PAINTED = "What is painted, or everywhere"
# As a program gives their values, after the picture.
NAMES = (
    "instruction", "negative_prompt", "steps", "seed_mode", "seed", "scale_mode", "text_scale", "image_scale", "sampler_name", "result", "detail",
    "size_mode", "longest_side", "width", "height", "region", "only", "variations", "speed",
)  # fmt: skip


def settings_of(values: Mapping[str, Any], defaults: ModelDefaults, painted: bool = False) -> dict[str, Any]:
    """values: by `NAMES`, as a browser sent them, unchecked; a seed and scales that are to be random are drawn. defaults: of the model;
    painted: whether there is a mask. Raises EditError."""
    drawn = values["seed_mode"] == DRAWN
    seed = random.randrange(100_000) if drawn else whole("seed", values["seed"])
    scales = values["text_scale"], values["image_scale"]
    text, image = random_scales(seed, defaults.scale_ranges) if values["scale_mode"] == DRAWN else scales
    sides = ("width", "height") if values["size_mode"] == CUSTOM else ("longest_side",)
    return {
        "instruction": str(values["instruction"] or ""),
        "negative_prompt": str(values["negative_prompt"] or ""),
        "steps": whole("steps", values["steps"]),
        "speed": str(values["speed"]),
        "seed": seed,
        "text_scale": number("text scale", text),
        "image_scale": number("image scale", image),
        "sampler_name": str(values["sampler_name"]),
        "scheduler": defaults.scheduler_with(str(values["sampler_name"])),
        "result": str(values["result"]),
        "detail": number("detail", values["detail"]),
        "crop": False,
        "region": where_of(values["region"], bool(values["only"]), painted),
        "variations": tuple(filter(None, map(str.strip, str(values["variations"] or "").splitlines()))),
        "longest_side": defaults.longest_side,
        **{side: whole(side.replace("_", " "), values[side]) for side in sides},
    }


def where_of(name: Any, only: bool, painted: bool) -> Where | None:
    """Where the edit acts: on what has the name, else on what is painted. Raises EditError for a name that is none."""
    if name not in (None, "", PAINTED):
        return Where(NAME, str(name), only=only)
    return Where(MASK, only=True) if only and painted else None


def whole(name: str, value: Any) -> int:
    """The value of a number field. Raises EditError when it is empty, no number or has a fraction."""
    if not number(name, value).is_integer():
        raise EditError(f"The {name} must be a whole number, not {value}.")
    return int(value)


def number(name: str, value: Any) -> float:
    """The value of a number field. Raises EditError when it is empty or no number."""
    if value is None:
        raise EditError(f"The {name} is empty: put a number there.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise EditError(f"The {name} must be a number, not {str(value)[:40]}.")
    return float(value)
