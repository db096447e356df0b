"""The options page "Instruct edit", and what its options do."""

from __future__ import annotations

import gradio as gr

from modules import sd_samplers, shared

from ..checkpoints.defaults import ModelDefaults
from ..edit import FULL, IMAGE_SCALE, MIN_SIDE, TEXT_SCALE
from ..wording import RESULT_LABELS
from . import history_store

SECTION = ("instruct_edit", "Instruct edit")
MEGABYTE = 1_000_000
MAX_LONGEST_SIDE = 2048  # of the tab's slider
CLEAR = "<button type='button' class='ip2p-button' onclick='ip2p_clear_history()'>Clear history</button> <span id='ip2p_cleared'></span>"
AS_HOST, ONE_BATCH, SEQUENTIAL = "As the WebUI batches them", "All passes in one batch", "One pass after another"


def on_ui_settings() -> None:
    """The host's callback: adds the options."""
    options = {
        "instruct_edit_text_scale": shared.OptionInfo(
            TEXT_SCALE, "Text scale in a new tab", gr.Slider, {"minimum": 0, "maximum": 20, "step": 0.1}
        ).needs_reload_ui(),
        "instruct_edit_image_scale": shared.OptionInfo(
            IMAGE_SCALE, "Image scale in a new tab", gr.Slider, {"minimum": 0, "maximum": 5, "step": 0.05}
        ).needs_reload_ui(),
        "instruct_edit_longest_side": shared.OptionInfo(
            ModelDefaults.longest_side, "Longest side in a new tab", gr.Slider, {"minimum": MIN_SIDE, "maximum": MAX_LONGEST_SIDE, "step": 64}
        ).needs_reload_ui(),
        "instruct_edit_result": shared.OptionInfo(
            RESULT_LABELS[FULL], "Result in a new tab", gr.Radio, {"choices": [*RESULT_LABELS.values()]}
        ).needs_reload_ui(),
        "instruct_edit_outdir": shared.OptionInfo(
            "", "Output folder for edits", component_args=shared.hide_dirs
        ).info("empty: the folder of img2img"),
        "instruct_edit_filename_pattern": shared.OptionInfo(
            "", "File name pattern for edits", component_args=shared.hide_dirs
        ).info("empty: the WebUI's own pattern; the same fields, for example [seed]-[prompt_spaces]"),
        "instruct_edit_memory": shared.OptionInfo(
            AS_HOST, "Memory use", gr.Radio, {"choices": [AS_HOST, ONE_BATCH, SEQUENTIAL]}
        ).info("one after another needs least memory and is a little slower; when memory runs out an edit goes on that way by itself"),
        "instruct_edit_history": shared.OptionInfo(True, "Keep a history of edits").info(
            "picture and result of the last edits of each browser window, in the folder of this extension"
        ),
        "instruct_edit_history_edits": shared.OptionInfo(
            history_store.MAX_STEPS, "Edits that the history keeps of a window", gr.Slider, {"minimum": 1, "maximum": 100, "step": 1}
        ).info("from the next edit on"),
        "instruct_edit_history_megabytes": shared.OptionInfo(
            history_store.MAX_BYTES // MEGABYTE, "Megabytes that the history may take", gr.Slider, {"minimum": 10, "maximum": 10_000, "step": 10}
        ).info("of all windows of one user; the oldest edits go first, the newest stays"),
        "instruct_edit_clear_history": shared.OptionHTML(CLEAR),
    }  # fmt: skip
    for name, option in options.items():
        option.section = SECTION
        shared.opts.add_option(name, option)


def outdir() -> str:
    """Folder for the results of the tab."""
    return shared.opts.instruct_edit_outdir or shared.opts.outdir_samples or shared.opts.outdir_img2img_samples


def usual_defaults() -> ModelDefaults:
    """What a new tab takes with a checkpoint that names no settings of its own."""
    options = shared.opts
    return ModelDefaults(
        int(options.instruct_edit_longest_side),
        options.instruct_edit_text_scale,
        options.instruct_edit_image_scale,
        sampler_name=usual_sampler(),
    )


def usual_sampler() -> str:
    """The published checkpoint's, unless the host hides it."""
    shown = sd_samplers.visible_sampler_names()
    return ModelDefaults.sampler_name if ModelDefaults.sampler_name in shown else shown[0]


def history_of(user: str | None) -> history_store.History:
    """A user's history, within the limits of the options."""
    options = shared.opts
    limits = history_store.Limits(int(options.instruct_edit_history_edits), int(options.instruct_edit_history_megabytes) * MEGABYTE)
    return history_store.History(user, limits=limits)


def passes_are_batched() -> bool:
    mode = shared.opts.instruct_edit_memory
    return shared.opts.batch_cond_uncond if mode == AS_HOST else mode == ONE_BATCH
