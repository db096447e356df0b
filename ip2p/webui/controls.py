"""The controls of the tab: the picture, the scales, the sampler, the size; and the `Edit` that their values make."""

from __future__ import annotations

import json

import gradio as gr
from PIL import Image

from modules import infotext_utils, sd_samplers, sd_schedulers, shared
from modules.ui_components import FormRow, ToolButton

from .. import __version__, images
from ..checkpoints.defaults import ModelDefaults
from ..edit import MAX_COUNT, MAX_SIDE, MAX_STEPS, MIN_SIDE, SLIDER_IMAGE, SLIDER_TEXT, SPEEDS, Edit, move_scales
from ..wording import AS_PICTURE, CUSTOM, FAST_INFO, LOAD_EXAMPLE
from . import cards, few_steps, picker, region_controls
from .models import chosen_defaults, randomise_label
from .paste import RESULTS_BY_LABEL
from .pictures import PictureInput, picture_of
from .settings import MAX_LONGEST_SIDE, usual_sampler

TIPS = """
**Is the picture not changing enough?** Press *Edit more*: it raises the text scale and lowers the image scale.
**Is it changing too much?** Press *Edit less*, which moves both the other way.
- Other seeds give other results: raise *Batch count*, or randomise both scales for a spread of variations.
- Say it another way: “turn him into a dog”, “make him a dog” and “as a dog” work differently.
- Raising the steps sometimes helps.
- A painting wants less of the photograph: lower *Keep the photograph's detail*, which changes the shown result without another edit.
- Small faces come out badly because the network sees the picture at an eighth of its size: *Edit only here* → *By name* → *Only that part* edits each at the model's own size.
- To move, count or tell left from right is beyond InstructPix2Pix. One change at a time, then *Use result as picture*.
"""

PAINTING = """
<p>Paint over the picture above where it may change: every pixel beside it stays as it is. With nothing painted, the whole picture is edited.</p>
<div class='ip2p-brush'>
<label>Brush <input id='ip2p_brush' type='range' min='1' max='50' value='12' aria-label='Size of the brush'></label>
<label><input id='ip2p_erase' type='checkbox'> Erase</label>
<button id='ip2p_unpaint' type='button' class='lg secondary'>Undo stroke</button>
<button id='ip2p_clear_mask' type='button' class='lg secondary'>Clear</button>
</div>
<div class='ip2p-brush'>
<button id='ip2p_find' type='button' class='lg secondary'>Paint where the instruction acts</button>
<label>Threshold <input id='ip2p_threshold' type='range' min='0' max='100' value='50' aria-label='From how strongly it acts it is painted'></label>
</div>
"""


def build_controls() -> tuple[dict, gr.Button, gr.Button, dict, dict]:
    """The controls of the left column by the name of the setting of `Edit` that each one fills, the buttons "Load example" and "reuse
    seed", and the parts of the picker and of the row *LCM-LoRA*."""
    c = {}
    c["image"] = PictureInput(label="Picture", elem_id="ip2p_image", source="upload", interactive=True, type="pil", height=420)
    example = gr.Button(LOAD_EXAMPLE, elem_id="ip2p_example", size="sm")
    with gr.Accordion("Edit only here", open=False, elem_id="ip2p_mask_accordion"):
        gr.HTML(PAINTING, elem_id="ip2p_painting")
        c["mask"] = gr.Textbox("", visible=False, elem_id="ip2p_mask")
        c["mask"].do_not_save_to_config = True
        c |= region_controls.build()
    shown_cards = cards.build()
    c["variations"] = shown_cards["variations"]
    ready = picker.build()
    ready["cards"] = shown_cards
    with FormRow(elem_id="ip2p_scales"):
        c["text_scale"] = gr.Slider(0, SLIDER_TEXT, shared.opts.instruct_edit_text_scale, step=0.1, label="Text scale", elem_id="ip2p_text_scale",
                                    info="How strongly the instruction acts")  # fmt: skip
        c["image_scale"] = gr.Slider(0, SLIDER_IMAGE, shared.opts.instruct_edit_image_scale, step=0.05, label="Image scale", elem_id="ip2p_image_scale",
                                     info="How closely the result keeps to the picture")  # fmt: skip
    with FormRow(elem_id="ip2p_more_or_less"):
        less = gr.Button("Edit less", elem_id="ip2p_edit_less", size="sm")
        more = gr.Button("Edit more", elem_id="ip2p_edit_more", size="sm")
        c["randomise_scales"] = gr.Checkbox(False, label=randomise_label(ModelDefaults()), elem_id="ip2p_randomise_scales")
    scales = [c["text_scale"], c["image_scale"]]
    more.click(fn=lambda text, image: move_scales(text, image, +1), inputs=scales, outputs=scales, show_progress=False)
    less.click(fn=lambda text, image: move_scales(text, image, -1), inputs=scales, outputs=scales, show_progress=False)
    with gr.Accordion("Tips", open=False, elem_id="ip2p_tips"):
        gr.Markdown(TIPS)

    with FormRow(elem_id="ip2p_sampler_row"):
        c["sampler_name"] = gr.Dropdown(
            sd_samplers.visible_sampler_names(), value=usual_sampler(), label="Sampling method", elem_id="ip2p_sampler"
        )
        c["scheduler"] = gr.Dropdown(
            [x.label for x in sd_schedulers.schedulers], value="Automatic", label="Schedule type", elem_id="ip2p_scheduler"
        )
        c["steps"] = gr.Slider(1, MAX_STEPS, 20, step=1, label="Sampling steps", elem_id="ip2p_steps")
        c["speed"] = gr.Radio([*SPEEDS], value=Edit.speed, label="Speed", elem_id="ip2p_speed", info=FAST_INFO)
    fast = few_steps.build()
    with FormRow(elem_id="ip2p_count_row"):
        c["count"] = gr.Slider(1, MAX_COUNT, 1, step=1, label="Batch count", elem_id="ip2p_count")
        c["batch_size"] = gr.Slider(1, 8, 1, step=1, label="Batch size", elem_id="ip2p_batch_size")
    with FormRow(elem_id="ip2p_seed_row"):
        c["seed"] = gr.Number(-1, label="Seed", elem_id="ip2p_seed", min_width=100, precision=0)
        random_seed = ToolButton("🎲️", elem_id="ip2p_random_seed", tooltip="Draw a new seed for every edit")
        reuse_seed = ToolButton("♻️", elem_id="ip2p_reuse_seed", tooltip="Reuse the seed of the selected result")
    random_seed.click(fn=None, _js="function(){ setRandomSeed('ip2p_seed'); return []; }", show_progress=False)

    with FormRow(elem_id="ip2p_size_row"):
        c["size_mode"] = gr.Radio([AS_PICTURE, CUSTOM], value=AS_PICTURE, label="Size", elem_id="ip2p_size_mode")
        c["longest_side"] = gr.Slider(MIN_SIDE, MAX_LONGEST_SIDE, shared.opts.instruct_edit_longest_side, step=64, label="Longest side", elem_id="ip2p_longest_side",
                                      info="Working size, in multiples of 64")  # fmt: skip
        c["width"] = gr.Slider(MIN_SIDE, MAX_SIDE // 2, 512, step=8, label="Width", elem_id="ip2p_width", visible=False)
        c["height"] = gr.Slider(MIN_SIDE, MAX_SIDE // 2, 512, step=8, label="Height", elem_id="ip2p_height", visible=False)
    c["size_mode"].change(**show_size(c))
    with FormRow(elem_id="ip2p_result_row"):
        c["result"] = gr.Radio([*RESULTS_BY_LABEL], value=shared.opts.instruct_edit_result, label="Result", elem_id="ip2p_result")
        c["detail"] = gr.Slider(0, 1, 1, step=0.05, label="Keep the photograph's detail", elem_id="ip2p_detail",
                                info="0 only enlarges. Changes the shown result, too")  # fmt: skip
    for control in (*scales, c["longest_side"], c["result"]):
        control.do_not_save_to_config = True  # the options page has their defaults
    with FormRow(elem_id="ip2p_checks_row", elem_classes="checkboxes-row"):
        c["crop"] = gr.Checkbox(False, label="Crop to the working size, as the paper does", elem_id="ip2p_crop")
        c["heat_map"] = gr.Checkbox(False, label="Show where it changed", elem_id="ip2p_heat_map")
    with gr.Accordion("Guidance schedule and start", open=False, elem_id="ip2p_schedule"):
        gr.Markdown("Share of the noise levels in which each guidance acts, 0 at pure noise; outside it, its scale is 1.")
        with FormRow():
            c["text_start"] = gr.Slider(0, 1, 0, step=0.01, label="Text guidance start", elem_id="ip2p_text_start")
            c["text_end"] = gr.Slider(0, 1, 1, step=0.01, label="Text guidance end", elem_id="ip2p_text_end")
        with FormRow():
            c["image_start"] = gr.Slider(0, 1, 0, step=0.01, label="Image guidance start", elem_id="ip2p_image_start")
            c["image_end"] = gr.Slider(0, 1, 1, step=0.01, label="Image guidance end", elem_id="ip2p_image_end")
        c["denoising_strength"] = gr.Slider(0, 1, 1, step=0.01, label="Edit strength from noise", elem_id="ip2p_denoising_strength",
                                            info="1 starts from pure noise, as in the paper; below 1 from the picture with noise")  # fmt: skip
    gr.HTML(f"<p class='ip2p-version'>Instruct edit {__version__}</p>")
    return c, example, reuse_seed, ready, fast


def show_size(c: dict) -> dict:
    """The event that shows the fields of the chosen size; after loading too, for a choice on the host's Defaults page."""
    return dict(
        fn=lambda mode: [gr.update(visible=mode == AS_PICTURE), gr.update(visible=mode == CUSTOM), gr.update(visible=mode == CUSTOM)],
        inputs=[c["size_mode"]], outputs=[c["longest_side"], c["width"], c["height"]], show_progress=False,
    )  # fmt: skip


def edit_of(names, values, **more) -> Edit:
    """The edit that the tab's inputs ask for. names: of the controls; values: instruction, negative prompt and styles, then
    the controls'; more: settings that take the place of the controls'. Raises EditError."""
    instruction, negative_prompt, styles, *rest = values
    settings = dict(zip(names, rest))
    if settings.pop("size_mode") == AS_PICTURE:
        settings["width"] = settings["height"] = None
    settings["result"] = RESULTS_BY_LABEL.get(settings["result"], settings["result"])
    settings["image"] = settings["image"] and picture_of(settings["image"])
    settings["mask"] = settings["image"] and painted_mask(settings["mask"], settings["image"].size)
    settings["region"] = region_controls.take_where(settings)
    settings["variations"] = tuple(filter(None, map(str.strip, settings["variations"].splitlines())))
    if settings["variations"]:
        settings["count"] = settings["batch_size"] = 1
    settings = {**whole_numbers(settings), "scale_ranges": chosen_defaults().scale_ranges, **more}
    return Edit(instruction=instruction, negative_prompt=negative_prompt, styles=tuple(styles), **settings)


def painted_mask(text: str | None, size: tuple[int, int]) -> Image.Image | None:
    """The mask that the page sent, white where it is painted over, at this size; None when nothing is.

    text: a data URL of a picture of any size that shows the whole of the one to edit, clear where it may not change. Raises EditError.
    """
    if not text:
        return None
    mask = images.read_as_it_is(images.from_base64(text, "mask"), "mask", limits=images.HTTP)
    mask = mask.getchannel("A") if mask.mode == "RGBA" else mask.convert("L")
    return mask.resize(size, Image.Resampling.BILINEAR) if mask.getbbox() else None


def whole_numbers(settings: dict) -> dict:
    """Gradio's sliders and number fields give 20.0 or None for what is a whole number."""
    whole = ("steps", "count", "batch_size", "seed", "width", "height", "longest_side")
    if settings["seed"] is None:
        settings["seed"] = -1
    return {k: int(v) if k in whole and v is not None else v for k, v in settings.items()}


def seed_of_selected(generation_info: str, index: int):
    """The seed of the selected result, from the host's description of the job."""
    try:
        texts = json.loads(generation_info)["infotexts"]
        return int(infotext_utils.parse_generation_parameters(texts[max(index, 0)], [])["Seed"])
    except (ValueError, KeyError, IndexError, TypeError):
        return gr.update()
