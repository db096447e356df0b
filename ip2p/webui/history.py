"""The history of one browser window: undo, redo, and a strip of its edits. Where they are kept is in `history_store.py`."""

from __future__ import annotations

import html
import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import gradio as gr
from PIL import Image

from modules import shared, ui_common
from modules.ui_components import FormRow

from . import paste, pictures
from .chain_run import ChainRun
from .history_store import History, Made, Place
from .kept_results import BEFORE_FIELD
from .picture_buttons import Tile, tiles
from .processing import Result
from .settings import history_of

NOTHING = {"undo": "There is nothing to undo.", "redo": "There is nothing to redo."}
GONE = "This step is not kept any longer."

# Files of a large photograph take their time: not while the WebUI's queue waits.
_writer = ThreadPoolExecutor(1, "instruct-edit-history")
_waiting: dict[tuple[str | None, str], list[Future]] = {}  # of each window of a user, the steps that are not yet known to be kept


def add(user: str | None, window: str, picture: Path | None, mask: Image.Image | None, run: ChainRun) -> None:
    """Adds a step for every line of a chain, soon; `shown` waits for them, and says it when one could not be kept, which is no reason to
    lose the edit. picture: the file that was edited, where there is one; mask: what was painted on it."""
    if not shared.opts.instruct_edit_history:
        return
    start: Image.Image | Path | None = picture
    for first, *_ in filter(None, run.lines):
        result = file_of(first.image)
        made = Made(start or first.picture, result, first.infotext, info_of(run, first), mask)
        _waiting.setdefault((user, window), []).append(_writer.submit(history_of(user).add, window, made))
        start = result


def file_of(image: Image.Image) -> Image.Image | Path:
    """The PNG that the host has saved of a result, or the result."""
    file = Path(getattr(image, "already_saved_as", "") or "")
    return file if file.suffix == ".png" and file.is_file() else image


def info_of(run: ChainRun, result: Result) -> dict:
    """The host's description of a job with this result alone."""
    lists = {"infotexts": [result.infotext], "all_seeds": [result.seed], "index_of_first_image": 0}
    return {**json.loads(run.processed.js()), **lists}


def faults(user: str | None, window: str) -> list[str]:
    """Waits for the window's steps: a sentence for each that could not be kept."""
    steps = list(_waiting.get((user, window), ())) if isinstance(window, str) else []
    errors = [kept.exception() for kept in steps]
    if steps:
        _waiting[user, window] = [kept for kept in _waiting.get((user, window), ()) if kept not in steps]
    return [f"The history could not be kept: {error}" for error in errors if error is not None]


def build() -> dict:
    """Undo, redo and the strip of the window's edits."""
    h = {}
    with FormRow(elem_id="ip2p_history_moves"):
        h["undo"] = gr.Button("Undo last edit", elem_id="ip2p_undo", size="sm")
        h["redo"] = gr.Button("Redo", elem_id="ip2p_redo", size="sm")
    with gr.Accordion("History", open=False, elem_id="ip2p_history"):
        h["page"] = gr.Textbox(visible=False, elem_id="ip2p_page")
        h["strip"] = gr.HTML(elem_id="ip2p_history_strip")
        h["message"] = gr.HTML(elem_id="ip2p_history_message")
        h["move"] = gr.Textbox(visible=False, elem_id="ip2p_history_move")
        h["restored"] = gr.Textbox(visible=False, elem_id="ip2p_restored")
        h["go_to"] = gr.Button(visible=False, elem_id="ip2p_history_go_to")
        h["now"] = gr.Button(visible=False, elem_id="ip2p_history_now")
    h["clear"] = gr.Button(visible=False, elem_id="ip2p_clear_history")  # which the options page presses
    h["cleared"] = gr.Textbox(visible=False, elem_id="ip2p_cleared_text")
    return h


def connect(h: dict, load, image, panel, fields) -> None:
    """Every move brings back picture, mask, result and settings, unless the person has changed something meanwhile (the page's script).
    load: the event of the page's loading."""
    answered = [h["restored"], h["strip"], h["message"]]
    applied = [image, panel.gallery, panel.generation_info, panel.infotext, *(field.component for field in fields)]

    def move(page: str, what: str, request: gr.Request):
        lines = faults(request.username, page)
        history = history_of(request.username)
        if what in NOTHING:
            place, nothing = (history.undo if what == "undo" else history.redo)(page), NOTHING[what]
        else:
            place, nothing = history.go_to(page, int(what) if what.isdecimal() else -1), GONE
        text = restored(place, fields) if place else json.dumps({"nothing": nothing})
        return [text, *strip(history, page, lines)]

    def now(page: str, what: str, request: gr.Request):
        lines = faults(request.username, page)
        history = history_of(request.username)
        return [restored(history.place(page), fields), *strip(history, page, lines)]

    apply = dict(fn=None, _js="ip2p_apply_restored", inputs=[h["restored"]], outputs=applied)
    asked = dict(inputs=[h["page"], h["move"]], outputs=answered, show_progress=False)
    h["undo"].click(fn=move, _js="() => ip2p_ask_history('undo')", **asked).then(**apply)
    h["redo"].click(fn=move, _js="() => ip2p_ask_history('redo')", **asked).then(**apply)
    h["go_to"].click(fn=move, _js="() => ip2p_ask_history(ip2p_chosen_step)", **asked).then(**apply)
    h["now"].click(fn=now, _js="() => ip2p_ask_history('')", **asked).then(**apply)
    h["clear"].click(
        fn=clear, _js="ip2p_page", inputs=[h["page"]], outputs=[h["strip"], h["message"], h["cleared"]], show_progress=False
    ).then(fn=None, _js="ip2p_show_cleared", inputs=[h["cleared"]])
    load(fn=None, _js="ip2p_load_history", outputs=[h["page"]])


def clear(page: str, request: gr.Request):
    """Deletes the user's history, once the steps that wait are written."""
    _writer.submit(history_of(request.username).clear).result()
    return [*shown(page, request), "The history is cleared."]


def restored(place: Place, fields) -> str:
    """What the page's script brings back, as JSON: `{picture, mask, gallery, info, infotext, fields}`, null for a field that stays."""
    if place.settings is None:
        return json.dumps({})
    settings, result = place.settings, place.result
    return json.dumps(
        {
            "picture": pictures.served(settings.picture),
            "mask": settings.mask and pictures.served(settings.mask),
            "gallery": [{"name": str(result.result), "data": None, "is_file": True}] if result and pictures.served(result.result) else [],
            "info": json.dumps({**result.info, BEFORE_FIELD: pictures.served(result.picture)}) if result else "",
            "infotext": ui_common.plaintext_to_html(result.infotext) if result else "",
            "fields": [None if isinstance(value, dict) else value for value in paste.values_of(fields, settings.infotext)],
        }
    )


def shown(page: str, request: gr.Request):
    """What the strip shows, and a line about steps that are damaged or could not be kept."""
    return strip(history_of(request.username), page, faults(request.username, page))


def strip(history: History, page: str, lines: list[str]) -> list[str]:
    steps, damaged = history.steps(page)
    at = history.place(page).result
    if damaged:
        lines = [*lines, f"Damaged, and left out: {', '.join(map(str, damaged))}. Delete them, or leave them be."]
    if not shared.opts.instruct_edit_history:
        lines = [*lines, "The history is switched off on the options page Instruct edit: later edits are not kept."]
    entries = (Tile(step.number, step.instruction, step.thumbnail, step.result, step == at) for step in steps)
    return [tiles(entries), message(" ".join(lines))]


def message(text: str) -> str:
    return text and f"<div class='error'>{html.escape(text)}</div>"
