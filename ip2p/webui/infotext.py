"""Infotext of an edit: the names of its fields, pasting them into the tab, and the buttons that send pictures here."""

from __future__ import annotations

from modules import infotext_utils, sd_samplers
from modules.infotext_utils import ParamBinding, PasteField

from .. import __version__
from ..edit import Edit

PREFIX = "Instruct edit"
# Settings of `Edit` that the host's own infotext does not hold, with the value that leaves them out.
OWN_FIELDS = {
    "text_start": 0.0, "text_end": 1.0, "image_start": 0.0, "image_end": 1.0,
    "own_size": False, "randomise_scales": False,
}  # fmt: skip


def field_name(setting: str) -> str:
    return f"{PREFIX} {setting.replace('_', ' ')}"


def fields_of(edit: Edit) -> dict:
    """What goes into `extra_generation_params`: all but the host's own fields; drawn scales picture by picture."""
    fields = {PREFIX: __version__}
    for setting, default in OWN_FIELDS.items():
        if (value := getattr(edit, setting)) != default:
            fields[field_name(setting)] = value
    if edit.mask is not None:
        fields[field_name("mask")] = True
    if edit.denoising_strength < 1:
        fields["Denoising strength"] = edit.denoising_strength
    if edit.randomise_scales:
        fields["CFG scale"] = lambda p, index, **_: edit.guidance(seed_of(p, index)).text_scale
        fields["Image CFG scale"] = lambda p, index, **_: edit.guidance(seed_of(p, index)).image_scale
    return fields


def seed_of(p, index: int) -> int:
    """Seed of a picture by its place in the current batch."""
    return p.all_seeds[min(p.iteration * p.batch_size + index, len(p.all_seeds) - 1)]


def connect(toprow, controls: dict) -> None:
    """Registers the tab as one that infotext and pictures can be sent to."""

    def own(setting):
        default = OWN_FIELDS[setting]
        return lambda params: params.get(field_name(setting), default)

    fields = [
        PasteField(toprow.prompt, "Prompt"),
        PasteField(toprow.negative_prompt, "Negative prompt"),
        PasteField(toprow.ui_styles.dropdown, lambda d: d.get("Styles array", [])),
        PasteField(controls["steps"], "Steps"),
        PasteField(controls["sampler_name"], sd_samplers.get_sampler_from_infotext),
        PasteField(controls["scheduler"], sd_samplers.get_scheduler_from_infotext),
        PasteField(controls["text_scale"], "CFG scale"),
        PasteField(controls["image_scale"], "Image CFG scale"),
        PasteField(controls["seed"], "Seed"),
        PasteField(controls["width"], "Size-1"),
        PasteField(controls["height"], "Size-2"),
        PasteField(controls["denoising_strength"], lambda d: d.get("Denoising strength", 1.0)),
        *(PasteField(controls[setting], own(setting)) for setting in OWN_FIELDS),
    ]
    infotext_utils.add_paste_fields("ip2p", controls["image"], fields)
    infotext_utils.register_paste_params_button(
        ParamBinding(paste_button=toprow.paste, tabname="ip2p", source_text_component=toprow.prompt)
    )
