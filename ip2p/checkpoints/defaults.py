"""The settings that suit a model, which the model itself names: in its file's header, or in a file of its folder.

A header has them as texts: `instruct_edit.text_scale`, `.image_scale`, `.steps`, `.size`, the longest side in pixels, `.sampler`,
`.scheduler`, the schedule type, `.passes`, 1 of a student (`student.py`), and `.instructions`, examples of what the model knows, one a line.
In a diffusers folder `instruct_edit.json` has the same without the prefix; diffusers leaves the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..edit import IMAGE_SCALE, MAX_COUNT, MAX_SCALE, MAX_STEPS, TEXT_SCALE, Edit, ScaleRanges, check_number, check_text, check_whole
from ..errors import EditError
from ..guidance import PASSES as PASS_NAMES
from ..images import MAX_SIDE, MIN_SIDE
from ..presets import Preset
from .header import is_safetensors, safetensors_metadata

PACKAGED = {name: Path(__file__).parents[1] / "small" / f"{name}.safetensors" for name in ("small", "small-fast")}
PREFIX, FOLDER_FILE = "instruct_edit.", "instruct_edit.json"
KEYS = TEXT, IMAGE, STEPS, SIZE, INSTRUCTIONS, SAMPLER, SCHEDULER, PASSES = (
    "text_scale", "image_scale", "steps", "size", "instructions", "sampler", "scheduler", "passes",
)  # fmt: skip
MAX_FILE, MAX_NAME = 100_000, 100  # bytes of a folder's file, characters of a sampler's name
AUTOMATIC = Edit.scheduler


@dataclass(frozen=True)
class ModelDefaults:
    """What an edit takes where nothing else is asked for. longest_side: of the working size, in pixels; passes: how many of them make one
    guided prediction, 3, or 1 of a student."""

    longest_side: int = Edit.longest_side
    text_scale: float = TEXT_SCALE
    image_scale: float = IMAGE_SCALE
    steps: int = Edit.steps
    sampler_name: str = Edit.sampler_name
    scheduler: str = AUTOMATIC
    passes: int = len(PASS_NAMES)

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are settings of an `Edit`, by their names there."""
        return {name: value for name, value in vars(self).items() if name != PASSES}

    def scheduler_with(self, sampler_name: str | None) -> str:
        """The schedule type to take where none is asked for: the model's own belongs to its sampler, None or its name."""
        return self.scheduler if sampler_name in (None, self.sampler_name) else AUTOMATIC

    def taken(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What is taken for those of `settings` that are None in `asked`."""
        suited = self.settings | {"scheduler": self.scheduler_with(asked["sampler_name"])}
        return {name: value for name, value in suited.items() if asked[name] is None}

    @property
    def scale_ranges(self) -> ScaleRanges:
        """From which scales are drawn: a fifth less to a fifth more, as the official page does with the published checkpoint's."""
        text, image = ((round(0.8 * scale, 2), round(1.2 * scale, 2)) for scale in (self.text_scale, self.image_scale))
        return text, image

    @property
    def keeps(self) -> tuple[str, ...]:
        """Settings that a ready instruction which is shipped leaves alone. Its scales suit the published checkpoint and its like; any other model
        keeps its own, and a student its steps."""
        scales = () if (self.text_scale, self.image_scale) == (TEXT_SCALE, IMAGE_SCALE) else ("text_scale", "image_scale")
        return scales if self.passes > 1 else (*scales, "steps")

    def ready(self, preset: Preset) -> dict[str, float]:
        """What a ready instruction sets by name."""
        sets = {name: getattr(preset, name) for name in ("text_scale", "image_scale", "steps", "detail")}
        return sets if preset.own else sets | {name: getattr(self, name) for name in self.keeps}


def defaults_for(model: str) -> ModelDefaults:
    """model: as `--model` takes it. What it does not name, or misstates, is as of the published checkpoint; of a name on the hub nothing is asked."""
    said, usual = metadata_of(model), ModelDefaults()

    def number(key: str, usual: float, check: Callable[[str, float], None]) -> float:
        try:
            check(key, value := float(said.get(key, usual)))
        except (ValueError, EditError):
            return usual
        return value

    def named(key: str, usual: str) -> str:
        return name if 0 < len(name := said.get(key, usual).strip()) <= MAX_NAME else usual

    return ModelDefaults(
        longest_side=int(number(SIZE, usual.longest_side, lambda name, x: check_whole(name, x, MIN_SIDE, MAX_SIDE))),
        text_scale=number(TEXT, usual.text_scale, lambda name, x: check_number(name, x, 0, MAX_SCALE)),
        image_scale=number(IMAGE, usual.image_scale, lambda name, x: check_number(name, x, 0, MAX_SCALE)),
        steps=int(number(STEPS, usual.steps, lambda name, x: check_whole(name, x, 1, MAX_STEPS))),
        sampler_name=named(SAMPLER, usual.sampler_name),
        scheduler=named(SCHEDULER, usual.scheduler),
        passes=1 if said.get(PASSES) == "1" else usual.passes,
    )


def instructions_for(model: str) -> tuple[str, ...]:
    """Examples of what the model knows; none where it names none."""
    lines = [line.strip() for line in metadata_of(model).get(INSTRUCTIONS, "").splitlines()]
    with suppress(EditError):
        for line in lines:
            check_text("instruction", line)
        return tuple(filter(None, lines))[:MAX_COUNT]
    return ()


def metadata_of(model: str | Path) -> dict[str, str]:
    """What a model says of itself, by `KEYS`, unchecked; nothing where its file can't be read, which loading it will say."""
    path = PACKAGED.get(str(model)) or Path(model).expanduser()
    with suppress(OSError, ValueError, RecursionError):
        if path.is_dir():
            file = path / FOLDER_FILE
            said = json.loads(file.read_bytes()) if file.stat().st_size <= MAX_FILE else {}
            return (
                {key: str(value) for key in KEYS if isinstance(value := said.get(key), (str, int, float))} if isinstance(said, dict) else {}
            )
        if is_safetensors(path):
            said = safetensors_metadata(path)
            return {key: said[PREFIX + key] for key in KEYS if PREFIX + key in said}
    return {}


def in_header(said: Mapping[str, str]) -> dict[str, str]:
    """The same as a file's header has it."""
    return {PREFIX + key: value for key, value in said.items()}
