"""*Finish exactly*: a result that was made fast, made once more with the same seed and settings, every pass in every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import gradio as gr
from PIL import Image

from modules import shared

from ..edit import Edit
from ..errors import EditError
from ..wording import FINISH_EXACTLY
from . import settings
from .chain_run import ChainRun, run_chain
from .kept_results import BEFORE_FIELD, JOB_FIELD, Exactly, kept
from .loan import lent
from .shown_result import LOST, error


def build(tools) -> dict:
    """The button beside the other tools of a result, which the page's script shows for one that was made fast. tools: the row of the
    buttons."""
    f = {}
    with tools:
        f["finish"] = gr.Button(FINISH_EXACTLY, elem_id="ip2p_finish_exactly", size="sm")
    f["place"] = gr.Number(-1, visible=False, precision=0, elem_id="ip2p_finished_place")
    return f


def exactly(run: ChainRun, painted: Image.Image | None) -> dict[int, Exactly]:
    """By identity of every result that was made fast what makes it exactly; call it while its checkpoint is loaded. painted: the mask."""
    if run.edit.speed == Edit.speed:
        return {}
    checkpoint = shared.sd_model.sd_checkpoint_info.title
    return {id(result): Exactly(replace(edit, speed=Edit.speed), painted, checkpoint) for result, edit in run.one_by_one()}


def make_finish(answer: Callable) -> Callable:
    """The function behind the button. answer: what the tab is sent of an edit."""

    def finish(id_task: str, request: gr.Request, page: str, place: float | None, info: str):
        window = page if isinstance(page, str) else ""
        try:
            about = description(info)
            result = kept.result(request.username, window, str(about.get(JOB_FIELD, "")), int(place or 0))
            if result is None:
                raise EditError(LOST)
            if result.exactly is None:
                raise EditError("This result is exact already.")
            asked = result.exactly
            with lent(asked.checkpoint):
                run = run_chain(asked.edit, outdir=settings.outdir(), save=True, grid=True, user=request.username, keep=True)
        except EditError as e:
            return gr.update(), "", "", error(str(e))
        return answer(run, request.username, window, asked.painted, None, str(about.get(BEFORE_FIELD, "")), {})

    return finish


def description(info: str) -> dict:
    """The host's description of the shown job, as the page has it."""
    try:
        about = json.loads(info)
    except (ValueError, TypeError):
        return {}
    return about if isinstance(about, dict) else {}
