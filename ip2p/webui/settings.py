"""The options page "Instruct edit", and what its options do."""

from __future__ import annotations

import gradio as gr

from modules import shared

from ..edit import IMAGE_SCALE, TEXT_SCALE

SECTION = ("instruct_edit", "Instruct edit")
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
        "instruct_edit_outdir": shared.OptionInfo(
            "", "Output folder for edits", component_args=shared.hide_dirs
        ).info("empty: the folder of img2img"),
        "instruct_edit_filename_pattern": shared.OptionInfo(
            "", "File name pattern for edits", component_args=shared.hide_dirs
        ).info("empty: the WebUI's own pattern; the same fields, for example [seed]-[prompt_spaces]"),
        "instruct_edit_memory": shared.OptionInfo(
            AS_HOST, "Passes of a step", gr.Radio, {"choices": [AS_HOST, ONE_BATCH, SEQUENTIAL]}
        ).info("one after another needs least memory and is a little slower; when memory runs out an edit goes on that way by itself"),
    }  # fmt: skip
    for name, option in options.items():
        option.section = SECTION
        shared.opts.add_option(name, option)


def outdir() -> str:
    """Folder for the results of the tab."""
    return shared.opts.instruct_edit_outdir or shared.opts.outdir_samples or shared.opts.outdir_img2img_samples


def passes_are_batched() -> bool:
    mode = shared.opts.instruct_edit_memory
    return shared.opts.batch_cond_uncond if mode == AS_HOST else mode == ONE_BATCH
