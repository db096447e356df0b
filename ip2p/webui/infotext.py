"""Infotext of an edit: the names of its fields, pasting them, and the buttons that send pictures to the tab."""

from __future__ import annotations

import re

import gradio as gr

from modules import infotext_utils, sd_samplers
from modules.infotext_utils import ParamBinding, PasteField

from ..edit import Edit
from ..guidance import Guidance
from ..infotext import OWN_FIELDS, PREFIX, field_name
from ..infotext import fields_of as shared_fields_of

AS_PICTURE, CUSTOM = "As the picture", "Custom"


def fields_of(edit: Edit) -> dict:
    """What goes into `extra_generation_params`: all but the host's own fields; drawn scales picture by picture."""
    fields = shared_fields_of(edit)
    if edit.varies:
        fields["CFG scale"] = lambda p, index, **_: guidance_of(edit, p, index).text_scale
        fields["Image CFG scale"] = lambda p, index, **_: guidance_of(edit, p, index).image_scale
    return fields


def guidance_of(edit: Edit, p, index: int) -> Guidance:
    """Guidance of a picture by its place in the current batch."""
    index = min(p.iteration * p.batch_size + index, len(p.all_seeds) - 1)
    return edit.guidance(p.all_seeds[index], index)


def pasted(setting: str):
    """What a control takes from an infotext: the value, or the default where an edit left it out; else it stays."""

    def value(params: dict):
        return params.get(field_name(setting), OWN_FIELDS[setting] if PREFIX in params else None)

    return value


def connect(toprow, controls: dict) -> list[PasteField]:
    """Registers the tab as one that infotext and pictures can be sent to."""

    def size_mode(params):
        if PREFIX not in params:
            return None
        return AS_PICTURE if field_name("longest_side") in params else CUSTOM

    fields = [
        PasteField(toprow.prompt, "Prompt"),
        PasteField(toprow.negative_prompt, "Negative prompt"),
        PasteField(toprow.ui_styles.dropdown, lambda d: d["Styles array"] if isinstance(d.get("Styles array"), list) else None),
        PasteField(controls["steps"], "Steps"),
        PasteField(controls["sampler_name"], sd_samplers.get_sampler_from_infotext),
        PasteField(controls["scheduler"], sd_samplers.get_scheduler_from_infotext),
        PasteField(controls["text_scale"], "CFG scale"),
        PasteField(controls["image_scale"], "Image CFG scale"),
        PasteField(controls["seed"], "Seed"),
        PasteField(controls["size_mode"], size_mode),
        PasteField(controls["longest_side"], field_name("longest_side")),
        PasteField(controls["width"], "Size-1"),
        PasteField(controls["height"], "Size-2"),
        PasteField(controls["denoising_strength"], lambda d: d.get("Denoising strength", 1.0)),
        *(PasteField(controls[setting], pasted(setting)) for setting in OWN_FIELDS),
    ]
    infotext_utils.add_paste_fields("ip2p", controls["image"], fields)
    binding = ParamBinding(paste_button=toprow.paste, tabname="ip2p", source_text_component=toprow.prompt)
    infotext_utils.register_paste_params_button(binding)
    return fields


def values_of(fields: list[PasteField], infotext: str) -> list:
    """What each field's control takes from an infotext, as the host's paste button gives it."""
    params = infotext_utils.parse_generation_parameters(infotext)
    values = []
    for field in fields:
        value = field.function(params) if field.function else params.get(field.label)
        kind = type(field.component.value)
        if value is None:
            values.append(gr.update())
        elif kind is bool:
            values.append(value not in (False, "False"))
        else:
            values.append(float(value) if kind in (int, float) else value)
    return values


def on_infotext_pasted(infotext: str, params: dict) -> None:
    """The host's callback: reads pictures of the former instruct-pix2pix extension, whose prompt stands among the fields."""
    if params.get("Model Type") != "instruct-pix2pix":
        return
    if scale := params.get("Text CFG scale"):
        params["CFG scale"] = scale
    for field, other in (("Prompt", "Negative Prompt"), ("Negative prompt", "Steps")):
        name = "Negative Prompt" if field == "Negative prompt" else field
        if found := re.search(rf"(?:^|, ){name}: (.*?), {other}: ", infotext, re.DOTALL):
            params[field] = infotext_utils.unquote(found[1])


class SendButtons:
    """The buttons "Send to Instruct edit" beside the host's own: on txt2img's and img2img's gallery and on PNG Info."""

    def __init__(self):
        self.seen = {}

    def on_after_component(self, component, **kwargs):
        """The host's callback for every component it makes."""
        from modules.ui_components import ToolButton

        elem_id = kwargs.get("elem_id")
        if elem_id in ("txt2img_gallery", "img2img_gallery", "pnginfo_image", "pnginfo_generation_info"):
            self.seen[elem_id] = component
        elif elem_id in ("txt2img_send_to_extras", "img2img_send_to_extras"):
            tab = elem_id.partition("_")[0]
            button = ToolButton("🪄", elem_id=f"{tab}_send_to_ip2p", tooltip="Send image to the Instruct edit tab.")
            self.bind(button, image=self.seen.get(f"{tab}_gallery"))
        elif elem_id == "extras_tab" and "pnginfo_image" in self.seen:
            button = gr.Button("Send to Instruct edit", elem_id="ip2p_tab")
            self.bind(button, image=self.seen["pnginfo_image"], text=self.seen.get("pnginfo_generation_info"))

    def bind(self, button, image=None, text=None):
        binding = ParamBinding(paste_button=button, tabname="ip2p", source_image_component=image, source_text_component=text)
        infotext_utils.register_paste_params_button(binding)
