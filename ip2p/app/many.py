"""Many pictures edited on the page one after another, with the settings of its fields."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from ..batch import Batch, Outcome, Stamps, stems_of, zip_files
from ..edit import Edit
from ..editor import Interrupted
from ..errors import EditError
from ..images import HTTP
from .events import Events, on_rows, on_step
from .said import said
from .settings_fields import DRAWN, NAMES, settings_of
from .uploads import uploaded

MOST_FILES = 1000
RESULTS = "results.zip"


class Many:
    """The events of the part *Many pictures*."""

    def __init__(self, events: Events):
        self.events = events

    def edit_all(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *values: Any,
    ) -> Iterator[tuple]:
        """values: the files, those of the fields by `NAMES`, the folder of the results so far; but for the last as the browser sends them.

        → what became of the pictures, as HTML, the ZIP of all that are finished, the folder, what there is to say. What is finished with
        the same settings is passed over, and so is a bad file, which is named. Raises EditError."""
        uploads, *texts, folder = values
        fields = dict(zip(NAMES, texts))
        sources = [Path(uploaded(upload)) for upload in files_of(uploads)]
        if not sources:
            raise EditError("There are no pictures to edit: drop some on the field first.")
        if len(sources) > MOST_FILES:
            raise EditError(f"There are {len(sources)} pictures, and at most {MOST_FILES} are edited at once.")
        settings = settings_of(fields, self.events.defaults)
        folder = folder or tempfile.mkdtemp(prefix="many-", dir=get_upload_folder())
        progress(0, desc="Loading the model")
        editor = self.events.editor
        stems = stems_of([Path(source.name) for source in sources])
        batch = Batch(
            sources,
            stems,
            Path(folder),
            Stamps(stamped(settings, fields), self.events.model),
            max(len(settings["variations"]), 1),
            limits=HTTP,
        )
        with self.events.running.edit(request.session_hash) as stop:
            described = ""

            def edit_one(picture: Image.Image) -> Sequence[tuple[Image.Image, str]]:
                edit = Edit(image=picture, **settings_of(fields, self.events.defaults))
                try:
                    results = editor.edit(edit, on_step=on_step(progress, stop, described), on_rows=on_rows(progress, stop))
                except Interrupted:
                    return []  # nothing of a picture that is not finished, so that its other results are made with the next press
                return [(result.image, result.infotext) for result in (results if edit.variations else results[-1:])]

            def on_picture(place: int) -> None:
                nonlocal described
                described = f"{sources[place].name}, {place + 1} of {len(sources)}"
                progress(0, desc=described)

            outcome = batch.run(edit_one, stop.is_set, on_picture)
        packed = Path(folder) / RESULTS if outcome.results else None
        if packed:
            zip_files(outcome.results, Path(folder), packed)
        yield report(outcome), packed and str(packed), folder, said(*(["The edit was stopped."] if outcome.stopped else []))


def files_of(uploads: Any) -> list[str]:
    """The files that the field says were dropped on it, unchecked."""
    uploads = uploads if isinstance(uploads, list) else [uploads]
    return [str(upload["path"]) for upload in uploads if isinstance(upload, dict) and upload.get("path")]


def stamped(settings: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The settings that a result is finished with: what is drawn for every picture is the same whatever was drawn."""
    drawn = ["seed"] if fields["seed_mode"] == DRAWN else []
    drawn += ["text_scale", "image_scale"] if fields["scale_mode"] == DRAWN else []
    return {**settings, **dict.fromkeys(drawn, DRAWN)}


def report(outcome: Outcome) -> str:
    """HTML: how many were edited, and which could not be."""
    failed = "".join(f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in outcome.failed)
    return f"<p role='status'>{escape(outcome.sentence)}</p>" + (f"<ul>{failed}</ul>" if failed else "")
