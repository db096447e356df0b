"""What the page keeps of a session's last edit, so that another kind of result, or more or less detail, needs no new edit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from ..chain import lines_of, next_edit
from ..edit import Edit
from ..editor import Editor, Result
from ..errors import EditError
from ..infotext import infotext_of
from ..located import located
from ..result import finished
from .painted import Painted
from .steps import Step

MOST, MAX_BYTES = 16, 512_000_000  # sessions, and what they take together; of the one that waited longest nothing is kept any more
GONE = "What made this result is no longer kept here: press Generate again."


@dataclass
class Working:
    """The last result of a session, from which no picture of the photograph's own size is kept: that lies in the step's files.

    settings: of its `Edit`, but for picture and mask; painted: the latter; file: of the result; levels: (h, w, 3) in [0, 255], what the
    network made; scales: text and image scale; decoded: the same as `levels` of the photograph through the autoencoder alone, once it
    was asked for."""

    settings: dict[str, Any]
    painted: Painted
    file: str
    levels: np.ndarray
    seed: int
    scales: tuple[float, float]
    decoded: np.ndarray | None = field(default=None, repr=False)

    @property
    def bytes(self) -> int:
        return self.levels.nbytes + (0 if self.decoded is None else self.decoded.nbytes)

    @classmethod
    def of(cls, result: Result, settings: dict[str, Any], step: Step) -> Working:
        """Of the result of a chain's last step, or of a variation."""
        return cls(settings, step.painted, step.result, result.levels, result.seed, (result.text_scale, result.image_scale))

    def again(
        self, editor: Editor, photograph: Image.Image, result: str, detail: float, on_rows: Callable[[int, int], None]
    ) -> tuple[Image.Image, str]:
        """The result given back in another way, and its infotext. Raises EditError, and what `on_rows` raises."""
        settings = {**self.settings, "result": result, "detail": detail}
        edit = located(Edit(image=photograph, mask=self.painted.mask(photograph.size), **settings), editor.finders)
        if edit.alone and len(edit.parts) > 1:
            raise EditError(f"This result was made of {len(edit.parts)} parts one after another: press Generate again.")
        picture, mask = edit.frame.place(edit.seen), edit.seen_mask and edit.frame.place(edit.seen_mask)
        image = finished(edit, self.levels, picture, mask, lambda: self._decoded(editor, picture), on_rows)
        size = self.levels.shape[1::-1]
        return image, infotext_of(edit, seed=self.seed, scales=self.scales, size=size, model=editor.name)

    def exactly(self, photograph: Image.Image, result: str, detail: float) -> Edit:
        """The edit that makes the result exactly, given back so. Raises EditError for one that is exact."""
        if self.settings["speed"] == Edit.speed:
            raise EditError("This result is exact already.")
        text, image = self.scales
        asked = {"speed": Edit.speed, "seed": self.seed, "text_scale": text, "image_scale": image, "result": result, "detail": detail}
        return Edit(image=photograph, mask=self.painted.mask(photograph.size), **{**self.settings, **asked})

    def _decoded(self, editor: Editor, picture: Image.Image) -> np.ndarray:
        if self.decoded is None:
            self.decoded = editor.reconstruct(picture)
        return self.decoded


class Kept:
    """The last edits of the latest sessions, each with one result or with variations."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.of_session: OrderedDict[str, list[Working]] = OrderedDict()
        self.lock = Lock()

    def put(self, session: str | None, workings: list[Working]) -> None:
        if not session:
            return
        with self.lock:
            self.of_session[session] = workings
            self.of_session.move_to_end(session)
            while len(self.of_session) > MOST or (len(self.of_session) > 1 and self._bytes() > self.max_bytes):
                self.of_session.popitem(last=False)

    def replace(self, session: str | None, old: Working, new: Working) -> None:
        with self.lock:
            self.of_session[session or ""] = [new if working is old else working for working in self.of_session.get(session or "", ())]

    def get(self, session: str | None, file: str) -> Working:
        """What made the result of this file. Raises EditError where it is not kept."""
        with self.lock:
            for working in self.of_session.get(session or "", ()):
                if working.file == file:
                    self.of_session.move_to_end(session or "")
                    return working
        raise EditError(GONE)

    def _bytes(self) -> int:
        return sum(working.bytes for workings in self.of_session.values() for working in workings)


def settings_made(settings: dict[str, Any], edit: Edit, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Of every variation, or of the last edit of a chain, as `Working` has them. results: of each line of the edit's instruction or of each
    variation, the last ones missing where it was stopped."""
    if edit.variations:
        return [{**settings, "instruction": one, "variations": ()} for one, _ in zip(edit.variations, results)]
    if len(results) == 1:
        return [{**settings, "instruction": lines_of(edit)[0].instruction}]
    last = next_edit(lines_of(edit)[len(results) - 1], results[-2].image, results[-1].seed)
    return [{**settings, "instruction": last.instruction, "width": last.width, "height": last.height}]
