"""One picture edited by `edit`, its sheets, and the progress over all of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from PIL import Image

from ..batch import Task
from ..chain import lines_of
from ..contact_sheet import contact_sheet
from ..edit import Edit, sheet_over_scales
from ..errors import printable
from ..images import exif_to_keep, fit, notes_of, read_image, save_picture
from ..located import located
from ..progress import bar
from .edit_outputs import Request

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..editor import Editor, Result

LABEL = 32  # characters above a picture


def edit_one(editor: Editor, task: Task, request: Request, mask: Image.Image | None, progress: Steps) -> None:
    """Edits one picture and writes its results. Raises EditError."""
    source = read_image(task.source)
    exif = exif_to_keep(source) if request.keep_metadata else None

    def write(target: Path, image: Image.Image, infotext: str) -> None:
        save_picture(image, target, infotext=infotext, settings=task.stamp, exif=exif)

    edit = located(replace(request.edit, image=source, mask=mask), editor.finders)
    if request.grid:
        seed = random.randrange(2**32) if edit.seed == -1 else edit.seed
        cells = sheet_over_scales(request.text_scales, request.image_scales, seed)
        results = editor.edit(replace(edit, seed=seed, variants=cells), on_step=progress.step, on_rows=progress.rows)
        rows, columns = ([f"{name} {s:g}" for s in scales] for name, scales in
                         (("text", request.text_scales), ("image", request.image_scales)))  # fmt: skip
        write(task.targets[0], contact_sheet([result.image for result in results], rows, columns), results[0].infotext)
        return progress.say_notes(task.source, source)
    results = editor.edit(edit, on_step=progress.step, on_rows=progress.rows)
    lines = [results[i : i + edit.count] for i in range(0, len(results), edit.count)]
    if request.compare:
        write(task.targets[0], comparison(edit, lines, request.every_step), lines[-1][0].infotext)
    else:
        for target, result in zip(task.targets, results if request.every_step else lines[-1]):
            write(target, result.image, result.infotext)
    return progress.say_notes(task.source, source)


def comparison(edit: Edit, lines: Sequence[Sequence[Result]], every_step: bool) -> Image.Image:
    """The picture and beside it the results of the last line; or, with every step, a row for every seed with the results of all lines.

    lines: of every line of the chain its results.
    """
    before = fit(edit.frame.shown(edit.seen), lines[-1][0].image.size, whole=True)
    seeds = [f"seed {result.seed}" for result in lines[-1]]
    shorter = [shorten(line.instruction, LABEL, placeholder="…") for line in lines_of(edit)]
    if every_step:
        cells = [picture for results in zip(*lines) for picture in (before, *(result.image for result in results))]
        return contact_sheet(cells, seeds if len(seeds) > 1 else [""], ["before", *shorter])
    labels = seeds if len(seeds) > 1 else [shorten(edit.instruction, LABEL, placeholder="…")]
    return contact_sheet([before, *(result.image for result in lines[-1])], [""], ["before", *labels])


class Steps:
    """Progress over the steps of all pictures. The first picture's first step tells how many steps each has."""

    def __init__(self, pictures: int):
        self.pictures, self.finished, self.per_picture, self.shown = pictures, 0, 0, 0
        self.bar: tqdm | None = None

    def step(self, step: int, total: int, latents: object = None) -> None:
        """The editor's callback after every step."""
        if self.bar is None:
            self.per_picture = total
            self.bar = bar(self.pictures * total, "step")
        self._to(self.finished * self.per_picture + min(step, self.per_picture))

    def rows(self, done: int, total: int) -> None:
        """The editor's callback after every strip of rows of a result that is brought to the picture's size."""
        if self.bar is not None:
            self.bar.set_description(f"own detail {done / total:.0%}" if done < total else None)

    def next_picture(self) -> None:
        self.finished += 1
        self._to(self.finished * self.per_picture)

    def _to(self, done: int) -> None:
        if self.bar is not None and done > self.shown:
            self.bar.update(done - self.shown)
            self.shown = done

    def say(self, sentence: str) -> None:
        sentence = printable(sentence)
        if self.bar is None:
            print(sentence, file=sys.stderr)
        else:
            self.bar.write(sentence, file=sys.stderr)

    def say_notes(self, path: Path, image: Image.Image) -> None:
        """What was done to a picture on reading."""
        for note in notes_of(image):
            self.say(f"{path.name}: {note}.")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
