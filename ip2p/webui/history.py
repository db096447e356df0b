"""The chain of edits of one page: what each step started from and what it made, so that any step can be gone back to.

Kept in the extension's folder, one folder a page (the page knows its id and brings it along after a reload), so that nothing
is lost when the WebUI restarts. The oldest steps and pages go first.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from PIL import Image

from modules.ui_components import FormRow

from . import paste
from .folder import KEPT

MAX_STEPS, MAX_PAGES = 20, 20
PAGE_ID = re.compile(r"[a-z0-9]{8,40}")


@dataclass(frozen=True)
class Step:
    """One edit: the picture it started from, its first result and that result's infotext."""

    folder: Path

    @property
    def picture(self) -> Image.Image:
        return Image.open(self.folder / "picture.png")

    @property
    def result(self) -> Image.Image:
        return Image.open(self.folder / "result.png")

    @property
    def infotext(self) -> str:
        return json.loads((self.folder / "step.json").read_text(encoding="utf8"))["infotext"]


def root() -> Path:
    return KEPT / "history"


def folder_of(page: str) -> Path | None:
    """The page's folder; None for an id that no page of ours has, which keeps paths from the network out."""
    return root() / page if isinstance(page, str) and PAGE_ID.fullmatch(page) else None


def steps_of(page: str) -> list[Step]:
    """The page's steps, oldest first; a step that was cut short while written is left out."""
    folder = folder_of(page)
    if folder is None or not folder.is_dir():
        return []
    complete = (path for path in folder.iterdir() if path.name.isdigit() and (path / "step.json").is_file())
    return [Step(path) for path in sorted(complete, key=lambda path: int(path.name))]


def add(page: str, picture: Image.Image, result: Image.Image, infotext: str) -> str:
    """Adds a step and gives an empty text, or a sentence when it could not be kept, which is no reason to lose the edit."""
    folder = folder_of(page)
    if folder is None:
        return ""
    try:
        write(folder, picture, result, infotext)
    except OSError as e:
        return f"The history could not be kept in {folder}: {e.strerror or e}.\n"
    return ""


def write(folder: Path, picture: Image.Image, result: Image.Image, infotext: str) -> None:
    """Writes a step beside and renames it, so that it is there whole or not at all; then drops what is too old."""
    folder.mkdir(parents=True, exist_ok=True)
    known = steps_of(folder.name)
    number = int(known[-1].folder.name) + 1 if known else 1
    beside = folder / f"{number}.new"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    picture.save(beside / "picture.png", compress_level=1)
    result.save(beside / "result.png", compress_level=1)
    (beside / "step.json").write_text(json.dumps({"infotext": infotext, "time": time.time()}), encoding="utf8")
    beside.rename(folder / str(number))
    for step in known[: len(known) + 1 - MAX_STEPS]:
        shutil.rmtree(step.folder)
    pages = sorted((path for path in root().iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for old in pages[:-MAX_PAGES]:
        shutil.rmtree(old)


def step_back(page: str) -> Step | None:
    """Takes the last step off the chain and gives it; its folder stays readable until the next step is added."""
    known = steps_of(page)
    if not known:
        return None
    last = known[-1].folder
    taken = last.with_name("taken.old")
    shutil.rmtree(taken, ignore_errors=True)
    last.rename(taken)
    return Step(taken)


def build() -> dict:
    """The strip of the chain of edits."""
    h = {}
    with gr.Accordion("History", open=False, elem_id="ip2p_history"):
        h["page"] = gr.Textbox(visible=False, elem_id="ip2p_page")
        h["strip"] = gr.Gallery(
            label="Chain of edits", show_label=False, elem_id="ip2p_history_strip", columns=6, height=180, preview=False
        )
        h["chosen"] = gr.Number(-1, visible=False, precision=0, elem_id="ip2p_history_chosen")
        with FormRow():
            h["again"] = gr.Button("Back to the selected step", elem_id="ip2p_history_again", size="sm")
            h["back"] = gr.Button("Step back", elem_id="ip2p_history_back", size="sm")
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

    def again(page: str, index: int):
        steps = steps_of(page)
        return restore(steps[int(index)] if 0 <= int(index or 0) < len(steps) else None)

    def back(page: str):
        return [*restore(step_back(page)), strip(page)]

    h["strip"].select(fn=choose, outputs=[h["chosen"]], show_progress=False)
    h["again"].click(fn=again, inputs=[h["page"], h["chosen"]], outputs=outputs, show_progress=False)
    h["back"].click(fn=back, inputs=[h["page"]], outputs=[*outputs, h["strip"]], show_progress=False)


def of_page(page: str):
    """When the page has loaded: its id, for what it sends later, and its strip."""
    return page, strip(page)


def strip(page: str):
    """The results of the chain as small pictures with their instructions."""
    pictures = []
    for step in steps_of(page):
        small = step.result.convert("RGB")
        small.thumbnail((256, 256))
        pictures.append((small, step.infotext.splitlines()[0]))
    return pictures
