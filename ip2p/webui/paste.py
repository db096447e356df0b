"""Infotext of an edit: the names of its fields, pasting them, and the buttons that send pictures to the tab."""

from __future__ import annotations

import re

import gradio as gr

from modules import infotext_utils, sd_samplers
from modules.infotext_utils import ParamBinding, PasteField

from ..edit import MAX_SEED, OWN_SIZE, SPEEDS, WORKING, Edit
from ..guidance import Guidance
from ..infotext import OWN_FIELDS, PREFIX, field_name
from ..infotext import fields_of as shared_fields_of
from ..wording import AS_PICTURE, CUSTOM, RESULT_LABELS
from . import region_controls

FORMER_FIELD, FORMER = "Model Type", "instruct-pix2pix"  # how the former extension marks its pictures
RESULTS_BY_LABEL = {label: result for result, label in RESULT_LABELS.items()}
FORMER_OWN_SIZE = field_name("own_size")  # how version 1 marked a result of the kind own-size
# A text with a comma, a colon or a line break in it stands there as JSON, any other as it is.
TEXT = r'"(?:\\.|[^"\\])*"(?=, )|.*?'
FORMER_PROMPTS = re.compile(rf"Prompt: ({TEXT})(?:, Negative Prompt: ({TEXT}))?, Steps: ")


def fields_of(edit: Edit) -> dict:
    """What goes into `extra_generation_params`: all but the host's own fields; drawn scales picture by picture."""
    fields = shared_fields_of(edit)
    if edit.varies:
        fields["CFG scale"] = lambda p, index, **_: guidance_of(edit, p, index).text_scale
        fields["Image CFG scale"] = lambda p, index, **_: guidance_of(edit, p, index).image_scale
    if edit.part:  # the seed of the first part is that of the result
        fields["Seed"] = lambda p, index, **_: p.all_seeds[p.iteration * p.batch_size + index] - edit.part
    return fields


def guidance_of(edit: Edit, p, index: int) -> Guidance:
    """Guidance of a picture by its place in the current batch."""
    index = min(p.iteration * p.batch_size + index, len(p.all_seeds) - 1)
    return edit.guidance(p.all_seeds[index] - edit.part, index)


def pasted_seed(params: dict) -> int | None:
    """None for one that no field holds: the whole paste would fail at it without a word."""
    seed = str(params.get("Seed", ""))
    if seed == "-1":
        return -1
    return int(seed) if len(seed) <= len(str(MAX_SEED)) and seed.isdecimal() and int(seed) <= MAX_SEED else None


def is_edit(params: dict) -> bool:
    """Whether an infotext is that of an edit, by us or by the former extension: what it leaves out was at its default."""
    return PREFIX in params or params.get(FORMER_FIELD) == FORMER


def pasted(setting: str):
    """What a control takes from an infotext: the value, or the default where an edit left it out; else it stays."""

    def value(params: dict):
        return params.get(field_name(setting), OWN_FIELDS[setting] if is_edit(params) else None)

    return value


def result_of(params: dict) -> str | None:
    """What kind of result an edit's infotext is of; None for a text that is no edit's."""
    if params.get(FORMER_OWN_SIZE) == "True":
        return OWN_SIZE
    result = pasted("result")(params)
    return result if result in RESULT_LABELS else None


def pasted_speed(params: dict) -> str | None:
    speed = pasted("speed")(params)
    return speed if speed in SPEEDS else None


def pasted_crop(params: dict):
    """Where an edit does not say, its picture was cropped for the result at working size only."""
    result = result_of(params)
    return params.get(field_name("crop"), None if result is None else result == WORKING)


def pasted_strength(params: dict):
    """An edit without one started from pure noise; a hires strength of txt2img says nothing about an edit."""
    if is_edit(params):
        return 1.0 if field_name("from noise") in params else params.get("Denoising strength", 1.0)
    return params.get("Denoising strength") if "Image CFG scale" in params else None


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
        PasteField(controls["seed"], pasted_seed),
        PasteField(controls["size_mode"], size_mode),
        PasteField(controls["longest_side"], field_name("longest_side")),
        # Functions: by the names alone the host would also send a picture's size, in a race with the one in its infotext.
        PasteField(controls["width"], lambda d: d.get("Size-1")),
        PasteField(controls["height"], lambda d: d.get("Size-2")),
        PasteField(controls["denoising_strength"], pasted_strength),
        PasteField(controls["result"], lambda d: RESULT_LABELS.get(result_of(d))),
        PasteField(controls["speed"], pasted_speed),
        PasteField(controls["crop"], pasted_crop),
        *region_controls.paste_fields(controls, is_edit),
        *(PasteField(controls[setting], pasted(setting)) for setting in OWN_FIELDS if setting not in ("result", "speed")),
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
    if params.get(FORMER_FIELD) != FORMER:
        return
    if scale := params.get("Text CFG scale"):
        params["CFG scale"] = scale
    if prompts := FORMER_PROMPTS.match(infotext.strip()):
        params["Prompt"], params["Negative prompt"] = (infotext_utils.unquote(text or "") for text in prompts.groups())


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
