"""The tab "Instruct edit": its layout and its wiring. What runs an edit is in `processing.py`."""

from __future__ import annotations

import random
from pathlib import Path

import gradio as gr
from PIL import Image

from modules import call_queue, progress, shared, ui_common
from modules.ui_components import FormRow, ResizeHandleRow

from ..errors import EditError
from ..wording import EXAMPLES, HOLD, ONE_CHANGE_A_LINE
from . import (
    batch_part,
    cards,
    few_steps,
    finish_exactly,
    found_region,
    history,
    notice,
    paste,
    picker,
    pictures,
    settings,
    sheet,
    shown_result,
)
from .chain_run import ChainRun, heat_infotext, run_chain
from .controls import build_controls, edit_of, seed_of_selected, show_size
from .kept_results import Exactly, Kept, kept, with_job
from .loan import lent
from .names import TAB_ID

TEXTS = 3  # the instruction, the negative prompt and the styles, which stand before the controls' values


def build(faults) -> gr.Blocks:
    """faults: gives, as HTML, the parts of the extension that are off."""
    from modules.ui_toprow import Toprow

    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(faults, elem_id="ip2p_faults")
        top = notice.build()
        toprow = Toprow(is_img2img=False, is_compact=False, id_part=TAB_ID)
        toprow.prompt.label = "Instruction"
        toprow.prompt.placeholder = f"make it winter\n{ONE_CHANGE_A_LINE}\n(Press Ctrl+Enter to edit, Alt+Enter to skip, Esc to interrupt)"
        toprow.negative_prompt.placeholder = toprow.negative_prompt.label
        dummy = gr.Label(visible=False)

        with gr.Tabs(elem_id="ip2p_extra_tabs", elem_classes=["extra-networks"]):
            with gr.Tab("Edit", id="ip2p_generation") as generation_tab, ResizeHandleRow(equal_height=False):
                with gr.Column(variant="compact", elem_id="ip2p_settings"):
                    controls, example, reuse_seed, ready, fast = build_controls()
                with gr.Column():
                    panel = ui_common.create_output_panel(TAB_ID, settings.outdir())
                    tools = build_result_tools(controls["image"], panel)
                    full = shown_result.build(tools)
                    exactly = finish_exactly.build(tools)
                    chain = history.build()
                    cells = sheet.build()
                    batch = batch_part.build()
            build_extra_networks(blocks, generation_tab, panel)

        reuse_seed.click(
            fn=seed_of_selected, _js="(info, seed) => [info, selected_gallery_index()]", inputs=[panel.generation_info, controls["seed"]],
            outputs=[controls["seed"]], show_progress=False,
        )  # fmt: skip
        texts = [toprow.prompt, toprow.negative_prompt, toprow.ui_styles.dropdown]
        inputs = [*texts, *controls.values()]
        checkpoint = [top["checkpoint"], top["lend"]]
        outputs = [panel.gallery, panel.generation_info, panel.infotext, panel.html_log]
        submit = dict(
            fn=call_queue.wrap_gradio_gpu_call(make_generate(tuple(controls)), extra_outputs=[gr.update(), "", ""]),
            _js="ip2p_submit",
            inputs=[dummy, chain["page"], *checkpoint, *inputs],
            outputs=outputs,
            show_progress=False,
        )
        show_history = dict(
            fn=history.shown, _js="ip2p_page", inputs=[chain["page"]], outputs=[chain["strip"], chain["message"]], show_progress=False
        )
        select_result = dict(fn=None, _js="ip2p_select_result")
        finish = dict(
            fn=call_queue.wrap_gradio_gpu_call(finish_exactly.make_finish(answer), extra_outputs=[gr.update(), "", ""]),
            _js="ip2p_submit_exactly",
            inputs=[dummy, chain["page"], exactly["place"], panel.generation_info],
            outputs=outputs,
            show_progress=False,
        )
        for answered in (toprow.submit.click(**submit), toprow.prompt.submit(**submit), exactly["finish"].click(**finish)):
            answered.then(**select_result)
            answered.then(**show_history)
        blocks.load(**show_size(controls))
        blocks.load(**sheet.show_axes(cells))
        sheet.connect(cells, dummy, checkpoint, inputs, controls, panel.html_log)
        found_region.connect(dummy, checkpoint, inputs, tuple(controls), panel.html_log)
        for event in (toprow.restore_progress_button.click, blocks.load):
            event(fn=restoring(outputs), _js="ip2p_restore", inputs=[dummy], outputs=outputs, show_progress=False).then(**select_result)
        of_batch = batch_part.connect(batch, dummy, chain["page"], checkpoint, texts, controls)
        blocks.load(fn=restoring(of_batch), _js="ip2p_restore_batch", inputs=[dummy], outputs=of_batch, show_progress=False)
        shown_result.connect(full, chain["page"], controls["detail"], panel)
        few_steps.connect(fast, notice.connect(top, controls, toprow.negative_prompt, blocks.load), toprow.prompt, controls)
        connect_token_counters(toprow, controls["steps"])
        picking = picker.connect(ready, toprow.prompt, controls)
        example.click(
            fn=lambda: random.choice(EXAMPLES), _js="ip2p_touch", outputs=[controls["image"], toprow.prompt], show_progress=False
        ).then(fn=None, _js="recalculate_prompts_ip2p")
        cards.connect(ready["cards"], ready, picking, controls)
        fields = paste.connect(toprow, controls)
        history.connect(chain, blocks.load, controls["image"], panel, fields)
    return blocks


def build_result_tools(image, panel) -> FormRow:
    """Below the gallery: the result as the next picture, and what it was made of. → the row of their buttons."""
    with FormRow(elem_id="ip2p_result_tools") as tools:
        use = gr.Button("Use result as picture", elem_id="ip2p_use_result", size="sm")
        gr.Button(HOLD, elem_id="ip2p_hold", size="sm")
    use.click(fn=None, _js="ip2p_use_result", inputs=[panel.gallery])
    set_picture = gr.Button(visible=False, elem_id="ip2p_set_picture")
    set_picture.click(fn=None, _js="ip2p_give_picture", outputs=[image])
    info_button = gr.Button(visible=False, elem_id="ip2p_generation_info_button")
    info_button.click(
        fn=ui_common.update_generation_info,
        _js="function(x, y, z){ return [x, y, selected_gallery_index()] }",
        inputs=[panel.generation_info, panel.infotext, panel.infotext],
        outputs=[panel.infotext, panel.infotext],
        show_progress=False,
    )
    return tools


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

    def generate(id_task: str, request: gr.Request, page: str, title: str, lend: bool, *values):
        try:
            edit = edit_of(names, values)
            window, sent = page if isinstance(page, str) else "", values[TEXTS + names.index("image")]
            picture, before = pictures.file_of(sent), pictures.shown_by(sent)
            with lent(title if lend else None):
                run = run_chain(edit, outdir=settings.outdir(), save=True, grid=True, user=request.username, keep=True)
                exactly = finish_exactly.exactly(run, edit.mask)
        except EditError as e:
            return gr.update(), "", "", shown_result.error(str(e))
        return answer(run, request.username, window, edit.mask, picture, before, exactly)

    return generate


def answer(
    run: ChainRun,
    user: str | None,
    window: str,
    painted: Image.Image | None,
    picture: Path | None,
    before: str,
    exactly: dict[int, Exactly],
):
    """What the tab is sent of an edit, which becomes a step of the window's history. painted: the mask; picture: the file that was edited,
    where there is one; before: what the page shows it by; exactly: as `finish_exactly.exactly` gives it."""
    processed = run.processed
    of_image = {id(result.image): result for result in run.results}
    places = {place: of_image[id(image)] for place, image in enumerate(processed.images) if id(image) in of_image}
    for result in run.results:
        if result.heat_map:
            processed.images.append(result.heat_map)
            processed.infotexts.append(heat_infotext(result))
    history.add(user, window, picture, painted, run)
    made = {place: Kept(one.made, one.seed, exactly.get(id(one))) for place, one in places.items() if one.made}
    job = kept.add(user, window, made)
    last_line = next(filter(None, reversed(run.lines)), [None])
    first = next((place for place, result in places.items() if result is last_line[0]), 0)
    info = with_job(processed.js(), job, [*places], first, before)
    if shared.opts.samples_log_stdout:
        print(info)
    if shared.opts.do_not_show_images:
        processed.images = []
    comments = ui_common.plaintext_to_html(processed.comments, classname="comments")
    return processed.images, info, ui_common.plaintext_to_html(processed.info), comments


def restoring(outputs):
    """What gives back the running or the last job of these outputs after a reload of the page, and leaves them alone when there is none."""

    def restore_progress(id_task: str):
        known = {progress.current_task, *progress.pending_tasks, *(task for task, _ in progress.recorded_results)}
        if not id_task or id_task not in known:
            return [gr.update()] * len(outputs)
        return progress.restore_progress(id_task)

    return restore_progress
