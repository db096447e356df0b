"""The strip of the edits of one browser window: any step can be gone back to. Where they are kept is in `history_store.py`."""

from __future__ import annotations

import html
from concurrent.futures import Future, ThreadPoolExecutor

import gradio as gr
from PIL import Image

from modules import shared
from modules.ui_components import FormRow

from ..errors import EditError
from . import paste
from .history_store import Step
from .settings import history_of

# Two PNGs of a large photograph take seconds to write: not while the WebUI's queue waits.
_writer = ThreadPoolExecutor(1, "instruct-edit-history")
_waiting: dict[tuple[str | None, str], list[Future]] = {}  # of each window of a user, the steps that are not yet known to be kept


def add(user: str | None, window: str, picture: Image.Image, result: Image.Image, infotext: str) -> None:
    """Adds a step, soon; `shown` waits for it, and says it when it could not be kept, which is no reason to lose the edit."""
    if not shared.opts.instruct_edit_history:
        return
    kept = _writer.submit(history_of(user).add, window, Step(picture, result, infotext))
    _waiting.setdefault((user, window), []).append(kept)


def faults(user: str | None, window: str) -> list[str]:
    """Waits for the window's steps: a sentence for each that could not be kept."""
    steps = list(_waiting.get((user, window), ())) if isinstance(window, str) else []
    errors = [kept.exception() for kept in steps]
    if steps:
        _waiting[user, window] = [kept for kept in _waiting.get((user, window), ()) if kept not in steps]
    return [f"The history could not be kept: {error}" for error in errors if error is not None]


def build() -> dict:
    """The strip of the chain of edits."""
    h = {}
    with gr.Accordion("History", open=False, elem_id="ip2p_history"):
        h["page"] = gr.Textbox(visible=False, elem_id="ip2p_page")
        h["strip"] = gr.Gallery(
            label="Chain of edits", show_label=False, elem_id="ip2p_history_strip", columns=6, height=180, preview=False
        )
        h["message"] = gr.HTML(elem_id="ip2p_history_message")
        h["chosen"] = gr.Number(-1, visible=False, precision=0, elem_id="ip2p_history_chosen")
        with FormRow():
            h["again"] = gr.Button("Back to the selected step", elem_id="ip2p_history_again", size="sm")
            h["back"] = gr.Button("Step back", elem_id="ip2p_history_back", size="sm")
    h["clear"] = gr.Button(visible=False, elem_id="ip2p_clear_history")  # which the options page presses
    h["cleared"] = gr.Textbox(visible=False, elem_id="ip2p_cleared_text")
    return h


def connect(h: dict, image, fields) -> None:
    """Either button restores a step's picture and every control; stepping back also takes the last step off the chain."""
    outputs = [image, *(field.component for field in fields)]

    def restore(step: Step | None):
        if step is None:
            return [gr.update()] * len(outputs)
        return [step.picture, *paste.values_of(fields, step.infotext)]

    def choose(event: gr.SelectData):
        return event.index

    def again(page: str, index: int, request: gr.Request):
        try:
            return [*restore(history_of(request.username).step(page, int(index or 0))), gr.update()]
        except EditError as e:
            return [*restore(None), message(str(e))]

    def back(page: str, request: gr.Request):
        return [*restore(history_of(request.username).step_back(page)), *shown(page, request)]

    h["strip"].select(fn=choose, outputs=[h["chosen"]], show_progress=False)
    h["again"].click(
        fn=again,
        _js="(page, chosen) => [...ip2p_page(), chosen]",
        inputs=[h["page"], h["chosen"]],
        outputs=[*outputs, h["message"]],
        show_progress=False,
    )
    h["back"].click(fn=back, _js="ip2p_page", inputs=[h["page"]], outputs=[*outputs, h["strip"], h["message"]], show_progress=False)
    h["clear"].click(
        fn=clear, _js="ip2p_page", inputs=[h["page"]], outputs=[h["strip"], h["message"], h["cleared"]], show_progress=False
    ).then(fn=None, _js="ip2p_show_cleared", inputs=[h["cleared"]])


def clear(page: str, request: gr.Request):
    """Deletes the user's history, once the steps that wait are written."""
    _writer.submit(history_of(request.username).clear).result()
    return [*shown(page, request), "The history is cleared."]


def of_page(page: str, request: gr.Request):
    """When the page has loaded: its id, for what it sends later, and its strip."""
    return [page, *shown(page, request)]


def shown(page: str, request: gr.Request):
    """What the strip shows, and a line about steps that are damaged or could not be kept."""
    lines = faults(request.username, page)
    thumbnails, damaged = history_of(request.username).thumbnails(page)
    if damaged:
        lines.append(f"Damaged, and left out: {', '.join(map(str, damaged))}. Delete them, or leave them be.")
    if not shared.opts.instruct_edit_history:
        lines.append("The history is switched off on the options page Instruct edit: later edits are not kept.")
    return thumbnails, message(" ".join(lines))


def message(text: str) -> str:
    return text and f"<div class='error'>{html.escape(text)}</div>"
