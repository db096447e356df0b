"""The contact sheet: many small edits in one job, to choose the scales or the seed by eye."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import gradio as gr

from modules import call_queue, ui_common
from modules.ui_components import FormRow

from ..edit import MAX_CELLS, MIN_SIDE, WORKING, read_scales, scales_around, sheet_over_scales, sheet_over_seeds
from ..errors import EditError
from .chain_run import run_chain
from .controls import edit_of
from .loan import lent
from .picture_buttons import Tile, tiles
from .shown_result import error, results_folder, written

SCALES, SEEDS = "Text × image scale", "Seeds"


def build() -> dict:
    """Its layout."""
    s = {}
    with gr.Accordion("Contact sheet", open=False, elem_id="ip2p_sheet"):
        with FormRow():
            s["over"] = gr.Radio([SCALES, SEEDS], value=SCALES, label="Contact sheet over", elem_id="ip2p_sheet_over")
            s["side"] = gr.Slider(MIN_SIDE, 512, 256, step=64, label="Longest side of a cell", elem_id="ip2p_sheet_side")
        with FormRow():
            for which in ("text", "image"):
                s[f"{which}_scales"] = gr.Textbox(
                    label=f"{which.capitalize()} scales",
                    elem_id=f"ip2p_sheet_{which}_scales",
                    placeholder=f"three around the {which} scale",
                )
            s["seeds"] = gr.Slider(1, MAX_CELLS, 9, step=1, label="Number of seeds", elem_id="ip2p_sheet_seeds", visible=False)
        with FormRow():
            s["draw"] = gr.Button("Draw the contact sheet", elem_id="ip2p_sheet_draw")
            gr.Button("Interrupt", elem_id="ip2p_sheet_stop", elem_classes="ip2p-running").click(fn=None, _js="ip2p_interrupt_job")
        with gr.Group():
            gr.HTML(elem_id="ip2p_sheet_progress")
        s["cells"] = gr.HTML(elem_id="ip2p_sheet_cells")
        s["settings"] = gr.Textbox(visible=False, elem_id="ip2p_sheet_settings")
        s["chosen"] = gr.Button(visible=False, elem_id="ip2p_sheet_chosen")
        gr.HTML("<p>Press a cell: its scales and its seed go into the controls, ready for full size.</p>")
    s["over"].change(**show_axes(s))
    return s


def show_axes(s: dict) -> dict:
    """The event that shows the fields of what the sheet goes over; after loading too, for a choice on the host's Defaults page."""
    return dict(
        fn=lambda over: [gr.update(visible=over == SCALES), gr.update(visible=over == SCALES), gr.update(visible=over == SEEDS)],
        inputs=[s["over"]], outputs=[s["text_scales"], s["image_scales"], s["seeds"]], show_progress=False,
    )  # fmt: skip


def connect(s: dict, dummy, checkpoint, inputs, controls: dict, html_log) -> None:
    """Wires the sheet. checkpoint: the one to lend and whether to; inputs: instruction, negative prompt, styles and `controls`, as the tab's own edit takes them."""

    def draw(id_task: str, title: str, lend: bool, over: str, side: float, text_scales: str, image_scales: str, seeds: float, *values):
        try:
            # The cells are small, one each, and all of one size; everything else is as in the controls.
            cell = dict(
                width=None,
                height=None,
                longest_side=int(side),
                result=WORKING,
                heat_map=False,
                randomise_scales=False,
                count=1,
                variations=(),
            )
            edit = edit_of(controls, values, **cell, batch_size=1)
            seed = random.randrange(2**32 - MAX_CELLS) if edit.seed == -1 else edit.seed
            if over == SCALES:
                across = read_scales(image_scales, "image scales") or scales_around("image_scale", edit.image_scale)
                down = read_scales(text_scales, "text scales") or scales_around("text_scale", edit.text_scale)
                cells, columns = sheet_over_scales(down, across, seed), len(across)
            else:
                cells = sheet_over_seeds(edit.text_scale, edit.image_scale, seed, int(seeds))
                columns = math.ceil(len(cells) ** 0.5)
            with lent(title if lend else None):
                processed = run_chain(replace(edit, variants=cells)).processed
        except EditError as e:
            return gr.update(), "", error(str(e))
        labels = [f"text {c.text_scale:g}, image {c.image_scale:g}" if over == SCALES else f"seed {c.seed}" for c in cells]
        settings = json.dumps([[c.text_scale, c.image_scale, c.seed] for c in cells])
        files = [written(image, infotext, results_folder()) for image, infotext in zip(processed.images, processed.infotexts)]
        sheet = tiles((Tile(i, label, file, file) for i, (label, file) in enumerate(zip(labels, files))), columns)
        return sheet, settings, ui_common.plaintext_to_html(processed.comments, classname="comments")

    fields = [s["over"], s["side"], s["text_scales"], s["image_scales"], s["seeds"]]
    s["draw"].click(
        fn=call_queue.wrap_gradio_gpu_call(draw, extra_outputs=[gr.update(), ""]),
        _js="ip2p_submit_sheet",
        inputs=[dummy, *checkpoint, *fields, *inputs],
        outputs=[s["cells"], s["settings"], html_log],
        show_progress=False,
    )
    chosen = [controls[name] for name in ("text_scale", "image_scale", "seed", "randomise_scales")]
    s["chosen"].click(fn=None, _js="ip2p_chosen_cell", inputs=[s["settings"]], outputs=chosen)
