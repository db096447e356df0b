"""The tab "Instruct edit": its layout and its wiring. What runs an edit is in `processing.py`."""

from __future__ import annotations

import html
import json

import gradio as gr

from modules import call_queue, infotext_utils, progress, sd_samplers, sd_schedulers, shared, ui_common
from modules.ui_components import FormRow, ResizeHandleRow, ToolButton

from .. import __version__, images
from ..edit import MAX_COUNT, MAX_SIDE, MAX_STEPS, MIN_SIDE, Edit, EditError
from . import infotext, settings
from .infotext import AS_PICTURE, CUSTOM
from .processing import model_status, run_chain

TAB_ID = "ip2p"
TEXT_MAX, IMAGE_MAX = 20.0, 5.0

TIPS = """
**Is the picture not changing enough?** Press *Edit more*: it raises the text scale and lowers the image scale.
**Is it changing too much?** Press *Edit less*, which moves both the other way.
- Other seeds give other results: raise the number of results, or randomise both scales for a spread of variations.
- Say it another way: “turn him into a dog”, “make him a dog” and “as a dog” work differently.
- Raising the steps sometimes helps.
- Small faces come out badly because the network sees the picture at an eighth of its size: crop the face and edit that.
- To move, count or tell left from right is beyond InstructPix2Pix. One change at a time, then *Use result as picture*.
"""


class PictureInput(gr.Image):
    """A picture field that hands the uploaded file on as it is, so that `images.read_base64` checks and reads it."""

    def get_block_name(self):
        return "image"

    def preprocess(self, x):
        return x


def on_ui_tabs():
    """The host's callback: `[(blocks, label, id)]`. When a host helper this tab needs is missing, the tab says which."""
    try:
        blocks = build()
    except Exception as e:
        from modules import errors

        errors.report("Instruct edit: the tab could not be built", exc_info=True)
        with gr.Blocks(analytics_enabled=False) as blocks:
            gr.HTML(f"<div class='error'>This WebUI lacks something the tab needs: {html.escape(f'{type(e).__name__}: {e}')}. "
                    "Update the extension, or use AUTOMATIC1111's WebUI v1.10.1.</div>")  # fmt: skip
    return [(blocks, "Instruct edit", TAB_ID)]


def on_ui_tabs_of_fork():
    """The tab on a fork that has removed edit models."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML("<div class='error'>This is Forge, which has removed edit models from the WebUI: the tab, the API and the Script are not "
                "supported here. Use AUTOMATIC1111's WebUI v1.10.1.</div>")  # fmt: skip
    return [(blocks, "Instruct edit", TAB_ID)]


def build() -> gr.Blocks:
    from modules.ui_toprow import Toprow

    with gr.Blocks(analytics_enabled=False) as blocks:
        notice = gr.HTML(elem_id="ip2p_notice")
        with FormRow(elem_id="ip2p_switch_row", visible=False) as switch_row:
            checkpoint = gr.Dropdown([], label="Edit checkpoints found", elem_id="ip2p_checkpoint")
            switch = gr.Button("Use this checkpoint", elem_id="ip2p_use_checkpoint", variant="primary")
        refresh_notice = gr.Button(visible=False, elem_id="ip2p_refresh_notice")

        toprow = Toprow(is_img2img=False, is_compact=False, id_part=TAB_ID)
        toprow.prompt.label = "Instruction"
        toprow.prompt.placeholder = (
            "Instruction, for example: make it winter\n(Press Ctrl+Enter to edit, Alt+Enter to skip, Esc to interrupt)"
        )
        dummy = gr.Label(visible=False)

        with gr.Tabs(elem_id="ip2p_extra_tabs", elem_classes=["extra-networks"]):
            with gr.Tab("Edit", id="ip2p_generation") as generation_tab, ResizeHandleRow(equal_height=False):
                with gr.Column(variant="compact", elem_id="ip2p_settings"):
                    controls, reuse_seed = build_controls()
                with gr.Column():
                    panel = ui_common.create_output_panel(TAB_ID, settings.outdir())
                    build_result_tools(controls["image"], panel)
            build_extra_networks(blocks, generation_tab, panel)

        reuse_seed.click(
            fn=seed_of_selected, _js="(info, seed) => [info, selected_gallery_index()]", inputs=[panel.generation_info, controls["seed"]],
            outputs=[controls["seed"]], show_progress=False,
        )  # fmt: skip
        inputs = [toprow.prompt, toprow.negative_prompt, toprow.ui_styles.dropdown, *controls.values()]
        outputs = [panel.gallery, panel.generation_info, panel.infotext, panel.html_log]
        submit = dict(
            fn=call_queue.wrap_gradio_gpu_call(make_generate(tuple(controls)), extra_outputs=[gr.update(), "", ""]),
            _js="ip2p_submit",
            inputs=[dummy, *inputs],
            outputs=outputs,
            show_progress=False,
        )
        toprow.submit.click(**submit)
        toprow.prompt.submit(**submit)
        for event in (toprow.restore_progress_button.click, blocks.load):
            event(fn=restore_progress, _js="ip2p_restore", inputs=[dummy], outputs=outputs, show_progress=False)
        for event in (refresh_notice.click, blocks.load):
            event(fn=model_notice, outputs=[notice, switch_row, checkpoint], show_progress=False)
        switch.click(fn=None, _js="ip2p_use_checkpoint", inputs=[checkpoint])

        connect_token_counters(toprow, controls["steps"])
        infotext.connect(toprow, controls)
    return blocks


def build_controls() -> tuple[dict, gr.Button]:
    """The controls of the left column by the name of the setting of `Edit` that each one fills, and the button "reuse seed"."""
    c = {}
    c["image"] = PictureInput(label="Picture", elem_id="ip2p_image", source="upload", interactive=True, type="pil", height=420)
    with FormRow(elem_id="ip2p_scales"):
        c["text_scale"] = gr.Slider(0, TEXT_MAX, shared.opts.instruct_edit_text_scale, step=0.1, label="Text scale", elem_id="ip2p_text_scale",
                                    info="How strongly the instruction acts")  # fmt: skip
        c["image_scale"] = gr.Slider(0, IMAGE_MAX, shared.opts.instruct_edit_image_scale, step=0.05, label="Image scale", elem_id="ip2p_image_scale",
                                     info="How closely the result keeps to the picture")  # fmt: skip
    with FormRow(elem_id="ip2p_more_or_less"):
        less = gr.Button("Edit less", elem_id="ip2p_edit_less", size="sm")
        more = gr.Button("Edit more", elem_id="ip2p_edit_more", size="sm")
        c["randomise_scales"] = gr.Checkbox(False, label="Randomise both (text 6–9, image 1.2–1.8)", elem_id="ip2p_randomise_scales")
    scales = [c["text_scale"], c["image_scale"]]
    for scale in scales:
        scale.do_not_save_to_config = True  # the options page has their defaults
    more.click(fn=lambda text, image: move_scales(text, image, +1), inputs=scales, outputs=scales, show_progress=False)
    less.click(fn=lambda text, image: move_scales(text, image, -1), inputs=scales, outputs=scales, show_progress=False)
    with gr.Accordion("Tips", open=False, elem_id="ip2p_tips"):
        gr.Markdown(TIPS)

    samplers = sd_samplers.visible_sampler_names()
    with FormRow(elem_id="ip2p_sampler_row"):
        c["sampler_name"] = gr.Dropdown(samplers, value="Euler a" if "Euler a" in samplers else samplers[0], label="Sampling method",
                                        elem_id="ip2p_sampler")  # fmt: skip
        c["scheduler"] = gr.Dropdown(
            [x.label for x in sd_schedulers.schedulers], value="Automatic", label="Schedule type", elem_id="ip2p_scheduler"
        )
        c["steps"] = gr.Slider(1, MAX_STEPS, 20, step=1, label="Sampling steps", elem_id="ip2p_steps")
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
        c["longest_side"] = gr.Slider(MIN_SIDE, 2048, 512, step=64, label="Longest side", elem_id="ip2p_longest_side",
                                      info="Fitted to multiples of 64")  # fmt: skip
        c["width"] = gr.Slider(MIN_SIDE, MAX_SIDE // 2, 512, step=8, label="Width", elem_id="ip2p_width", visible=False)
        c["height"] = gr.Slider(MIN_SIDE, MAX_SIDE // 2, 512, step=8, label="Height", elem_id="ip2p_height", visible=False)
    c["size_mode"].change(
        fn=lambda mode: [gr.update(visible=mode == AS_PICTURE), gr.update(visible=mode == CUSTOM), gr.update(visible=mode == CUSTOM)],
        inputs=[c["size_mode"]], outputs=[c["longest_side"], c["width"], c["height"]], show_progress=False,
    )  # fmt: skip
    with FormRow(elem_id="ip2p_result_row", elem_classes="checkboxes-row"):
        c["own_size"] = gr.Checkbox(False, label="Result at the picture's own size", elem_id="ip2p_own_size")
        c["heat_map"] = gr.Checkbox(False, label="Add a picture of where the edit acts", elem_id="ip2p_heat_map")
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
    return c, reuse_seed


def build_result_tools(image, panel) -> None:
    """Below the gallery: the result as the next picture, and before against after."""
    with FormRow(elem_id="ip2p_result_tools"):
        use = gr.Button("Use result as picture", elem_id="ip2p_use_result")
        compare = gr.Button("Compare before and after", elem_id="ip2p_compare_button")
    gr.HTML("<div id='ip2p_compare' hidden></div>")
    use.click(
        fn=infotext_utils.image_from_url_text, _js="ip2p_selected_result", inputs=[panel.gallery], outputs=[image], show_progress=False
    )
    compare.click(fn=None, _js="ip2p_toggle_compare")
    info_button = gr.Button(visible=False, elem_id="ip2p_generation_info_button")
    info_button.click(
        fn=ui_common.update_generation_info,
        _js="function(x, y, z){ return [x, y, selected_gallery_index()] }",
        inputs=[panel.generation_info, panel.infotext, panel.infotext],
        outputs=[panel.infotext, panel.infotext],
        show_progress=False,
    )


def build_extra_networks(blocks, generation_tab, panel) -> None:
    from modules import ui_extra_networks

    networks = ui_extra_networks.create_ui(blocks, [generation_tab], TAB_ID)
    ui_extra_networks.setup_ui(networks, panel.gallery)


def connect_token_counters(toprow, steps) -> None:
    from modules import ui

    styles = toprow.ui_styles.dropdown
    for button, count, prompt, counter in (
        (toprow.token_button, ui.update_token_counter, toprow.prompt, toprow.token_counter),
        (toprow.negative_token_button, ui.update_negative_prompt_token_counter, toprow.negative_prompt, toprow.negative_token_counter),
    ):
        button.click(fn=call_queue.wrap_queued_call(count), inputs=[prompt, steps, styles], outputs=[counter], show_progress=False)


def make_generate(names: tuple[str, ...]):
    """The function behind Generate. names: of the controls, in the order of their values."""

    def generate(id_task: str, request: gr.Request, instruction: str, negative_prompt: str, styles: list[str], *values):
        given = dict(zip(names, values))
        if given.pop("size_mode") == AS_PICTURE:
            given["width"] = given["height"] = None
        try:
            given["image"] = given["image"] and images.read_base64(given["image"])
            edit = Edit(instruction=instruction, negative_prompt=negative_prompt, styles=tuple(styles), **whole_numbers(given))
            with settings.file_names():
                processed = run_chain(edit, outdir=settings.outdir(), save=True, grid=True, user=request.username)
        except EditError as e:
            return gr.update(), "", "", f"<div class='error'>{html.escape(str(e))}</div>"

        info = processed.js()
        if shared.opts.samples_log_stdout:
            print(info)
        if shared.opts.do_not_show_images:
            processed.images = []
        comments = ui_common.plaintext_to_html(processed.comments, classname="comments")
        return processed.images, info, ui_common.plaintext_to_html(processed.info), comments

    return generate


def whole_numbers(given: dict) -> dict:
    """Gradio's sliders and number fields give 20.0 or None for what is a whole number."""
    whole = ("steps", "count", "batch_size", "seed", "width", "height", "longest_side")
    if given["seed"] is None:
        given["seed"] = -1
    return {k: int(v) if k in whole and v is not None else v for k, v in given.items()}


def move_scales(text: float, image: float, direction: int) -> tuple[float, float]:
    """A step towards more edit (+1) or less (−1): the two scales act against each other, so they move in opposite ways."""
    text, image = text + direction, image - 0.1 * direction
    return round(min(max(text, 1.0), TEXT_MAX), 2), round(min(max(image, 1.0), IMAGE_MAX), 2)


def restore_progress(id_task: str):
    """Gives back the running or the last job after a reload of the page; leaves the tab alone when there is none."""
    known = id_task == progress.current_task or id_task in progress.pending_tasks
    if not known and all(id_task != task for task, _ in progress.recorded_results):
        return [gr.update()] * 4
    return progress.restore_progress(id_task)


def model_notice():
    """One sentence when the loaded checkpoint does not edit, and the edit checkpoints to choose from."""
    status = model_status()
    if status["is_edit_model"]:
        return "", gr.update(visible=False), gr.update()
    found = status["edit_checkpoints"]
    loaded = f"“{status['model']}” is not an edit model" if status["model"] else "No checkpoint is loaded"
    if found:
        advice = "choose one of the edit checkpoints that were found."
    else:
        advice = f"put an InstructPix2Pix checkpoint into {html.escape(str(checkpoint_folder()))} and refresh the checkpoint list at the top of the page."
    text = f"<div class='ip2p-notice'>{html.escape(loaded)}: {advice}</div>"
    return text, gr.update(visible=bool(found)), gr.update(choices=found, value=found[0] if found else None)


def checkpoint_folder() -> str:
    from modules import sd_models

    return shared.cmd_opts.ckpt_dir or sd_models.model_path


def seed_of_selected(generation_info: str, index: int):
    """The seed of the selected result, from the host's description of the job."""
    try:
        texts = json.loads(generation_info)["infotexts"]
        return int(infotext_utils.parse_generation_parameters(texts[max(index, 0)], [])["Seed"])
    except (ValueError, KeyError, IndexError, TypeError):
        return gr.update()
