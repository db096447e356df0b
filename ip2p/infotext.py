"""Infotext of an edit: the fields' names and their text, as the WebUI writes and pastes them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from . import __version__
from .edit import WORKING, Edit

PREFIX = "Instruct edit"
# Settings of `Edit` that the WebUI's own infotext does not hold, with the value that is left out.
OWN_FIELDS = {
    "text_start": 0.0,
    "text_end": 1.0,
    "image_start": 0.0,
    "image_end": 1.0,
    "speed": Edit.speed,
    "result": WORKING,
    "detail": 1.0,
    "heat_map": False,
    "randomise_scales": False,
    "count": 1,
    "batch_size": 1,
}


def field_name(setting: str) -> str:
    return f"{PREFIX} {setting.replace('_', ' ')}"


def own_fields(settings: dict) -> dict:
    """The settings that are not at their default, by the name of their field, and which version wrote them."""
    return {PREFIX: __version__, **{field_name(k): v for k, v in settings.items() if v != OWN_FIELDS[k]}}


def fields_of(edit: Edit) -> dict:
    """All fields of an edit but those that the WebUI writes itself."""
    fields = own_fields({name: getattr(edit, name) for name in OWN_FIELDS})
    if edit.width is None and edit.height is None:
        fields[field_name("longest_side")] = edit.longest_side
    if edit.cropped != (edit.result == WORKING):
        fields[field_name("crop")] = edit.cropped
    if edit.region is not None:
        fields[field_name("region")] = edit.region.text
    elif edit.mask is not None:
        fields[field_name("mask")] = True
    if edit.denoising_strength < 1:
        fields["Denoising strength"] = edit.denoising_strength
    return fields


def is_fast(infotext: str | None) -> bool:
    """Whether a result with this infotext was made fast."""
    return f", {field_name('speed')}: fast" in (infotext or "").rpartition("\n")[2]


def infotext_of(edit: Edit, *, seed: int, scales: tuple[float, float], size: tuple[int, int], model: str, tags: Sequence[str] = ()) -> str:
    """The whole infotext of one result. scales: (text scale, image scale) it was made with; size: (width, height) it was made at; tags: of
    LoRAs, which stand behind the instruction."""
    fields = {
        "Steps": edit.steps,
        "Sampler": edit.sampler_name,
        "Schedule type": edit.scheduler,
        "CFG scale": scales[0],
        "Image CFG scale": scales[1],
        "Seed": seed,
        "Size": "{}x{}".format(*size),
        "Model": model,
        **fields_of(edit),
    }
    negative = f"\nNegative prompt: {edit.negative_prompt}" if edit.negative_prompt else ""
    return f"{' '.join([edit.instruction, *tags])}{negative}\n" + ", ".join(f"{name}: {quoted(value)}" for name, value in fields.items())


def quoted(value: object) -> str:
    """A value as the WebUI writes it: in quotes when it holds what separates fields."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if {",", "\n", ":"} & {*text} else text
