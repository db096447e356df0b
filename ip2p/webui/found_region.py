"""The button that paints where the instruction acts, to be mended by the brush."""

from __future__ import annotations

from functools import reduce

import gradio as gr
import numpy as np
import torch
from PIL import Image

from modules import call_queue

from ..acting import acting_levels
from ..chain import lines_of
from ..errors import EditError
from .api import png_base64
from .asking import asks
from .controls import edit_of
from .loan import lent
from .shown_result import error


def connect(dummy, checkpoint, inputs, names: tuple[str, ...], html_log) -> None:
    """checkpoint: the one to lend and whether to; inputs: instruction, negative prompt, styles and the controls of these names, as the tab's own edit takes them."""

    def find(id_task: str, title: str, lend: bool, *values):
        try:
            edit = edit_of(names, values, mask=None, region=None, variations=(), crop=False)
            with lent(title if lend else None):
                levels = reduce(torch.maximum, [acting_levels(line, asks(line)) for line in lines_of(edit)])
        except EditError as e:
            return "", error(str(e))
        picture = Image.fromarray((levels.numpy() * 255 + 0.5).astype(np.uint8))
        return "data:image/png;base64," + png_base64(picture), ""

    levels = gr.Textbox(visible=False, elem_id="ip2p_found")
    button = gr.Button(visible=False, elem_id="ip2p_find_region")  # pressed by the one beside the brush
    button.click(
        fn=call_queue.wrap_gradio_gpu_call(find, extra_outputs=[""]),
        _js="ip2p_submit_find",
        inputs=[dummy, *checkpoint, *inputs],
        outputs=[levels, html_log],
        show_progress=False,
    ).then(fn=None, _js="ip2p_paint_found", inputs=[levels])
