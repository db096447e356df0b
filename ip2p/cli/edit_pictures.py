"""Pictures edited by `edit`, its sheets, and the progress over all of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from PIL import Image

from ..batch import Task
from ..chain import lines_of
from ..contact_sheet import contact_sheet
from ..edit import Edit, sheet_over_scales
from ..errors import EditError, printable
from ..files import why
from ..images import exif_to_keep, fit, notes_of, read_image, read_mask, save_picture
from ..located import located
from ..progress import PartsBar, bar
from ..runners import EndsTheProcess, on_device
from .edit_outputs import Request

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..editor import Editor, Result
    from ..runners import Attempts, Report

LABEL = 32  # characters above a picture


@dataclass(frozen=True)
class EditPictures:
    """Editing pictures as a stage of work. mask: its file. attempts: at its pictures; None where a process that ends takes the run with it.
    threads: of each process on the CPU, on whose number the roundings depend."""

    model: str
    request: Request
    mask: Path | None
    attempts: Attempts | None
    threads: int

    def open(self, device: str | None) -> PictureEditor:
        """Raises EditError for a model, a LoRA or a mask that can't be read."""
        import torch

        from ..editor import Editor

        torch.set_num_threads(self.threads)
        editor = Editor.load(self.model, device)
        for lora in self.request.loras:
            editor.load_lora(lora.file, lora.weight)
        return PictureEditor(editor, self)


@dataclass(frozen=True)
class Edited:
    """What became of a picture. notes: what was done to it on reading. failed: why it has no results, "" where it has."""

    notes: Sequence[str] = ()
    failed: str = ""


class PictureEditor:
    """A loaded model that edits pictures into files."""

    def __init__(self, editor: Editor, stage: EditPictures):
        self.editor, self.request, self.attempts = editor, stage.request, stage.attempts
        self.mask = read_mask(stage.mask) if stage.mask else None

    def __call__(self, task: Task, report: Report) -> Edited:
        try:
            with self.attempts.of(str(task.targets[0])) if self.attempts else nullcontext(), on_device():
                return Edited(edit_one(self.editor, task, self.request, self.mask, report))
        except EndsTheProcess:
            raise
        except EditError as e:
            return Edited(failed=" ".join(str(e).split()))
        except (OSError, MemoryError) as e:
            return Edited(failed=why(e))


def edit_one(editor: Editor, task: Task, request: Request, mask: Image.Image | None, report: Report) -> list[str]:
    """Edits one picture and writes its results → what was done to it on reading. Raises EditError."""
    source = read_image(task.source)
    exif = exif_to_keep(source) if request.keep_metadata else None
    reported = (0, 1)

    def write(target: Path, image: Image.Image, infotext: str) -> None:
        save_picture(image, target, infotext=infotext, settings=task.stamp, exif=exif)

    def on_step(step: int, total: int, latents: object = None) -> None:
        nonlocal reported
        reported = step, total
        report(step, total, "")

    def on_rows(done: int, total: int) -> None:
        report(*reported, f"own detail {done / total:.0%}" if done < total else "")

    edit = located(replace(request.edit, image=source, mask=mask), editor.finders)
    if request.grid:
        seed = random.randrange(2**32) if edit.seed == -1 else edit.seed
        cells = sheet_over_scales(request.text_scales, request.image_scales, seed)
        results = editor.edit(replace(edit, seed=seed, variants=cells), on_step=on_step, on_rows=on_rows)
        rows, columns = ([f"{name} {s:g}" for s in scales] for name, scales in
                         (("text", request.text_scales), ("image", request.image_scales)))  # fmt: skip
        write(task.targets[0], contact_sheet([result.image for result in results], rows, columns), results[0].infotext)
        return notes_of(source)
    results = editor.edit(edit, on_step=on_step, on_rows=on_rows)
    of_line = len(edit.variations) or edit.count
    lines = [results[i : i + of_line] for i in range(0, len(results), of_line)]
    if request.compare:
        write(task.targets[0], comparison(edit, lines, request.every_step, request.words), lines[-1][0].infotext)
    else:
        for target, result in zip(task.targets, results if request.every_step else lines[-1]):
            write(target, result.image, result.infotext)
    return notes_of(source)


def comparison(edit: Edit, lines: Sequence[Sequence[Result]], every_step: bool, words: Sequence[str] = ()) -> Image.Image:
    """The picture and beside it the results of the last line; or, with every step, a row for every seed with the results of all lines.

    lines: of every line of the chain its results; words: of variations what stands above each.
    """
    before = fit(edit.frame.shown(edit.seen), lines[-1][0].image.size, whole=True)
    seeds = [f"seed {result.seed}" for result in lines[-1]]
    shorter = [shorten(line.instruction, LABEL, placeholder="…") for line in lines_of(edit)]
    if every_step:
        cells = [picture for results in zip(*lines) for picture in (before, *(result.image for result in results))]
        return contact_sheet(cells, seeds if len(seeds) > 1 else [""], ["before", *shorter])
    labels = words or seeds if len(seeds) > 1 else [shorten(edit.instruction, LABEL, placeholder="…")]
    return contact_sheet([before, *(result.image for result in lines[-1])], [""], ["before", *labels])


class Steps:
    """Progress over the steps of all pictures. The first picture's first step tells how many steps each has."""

    def __init__(self, pictures: int):
        self.pictures, self.per_picture = pictures, 0
        self.bar: tqdm | None = None
        self.parts: PartsBar | None = None

    def report(self, picture: int, step: int, total: int, doing: str) -> None:
        """The runner's `Progress`."""
        if self.parts is None:
            self.per_picture = total
            self.bar = bar(self.pictures * total, "step")
            self.parts = PartsBar(self.bar)
        self.parts.report(picture, min(step, self.per_picture), self.per_picture)
        if self.bar is not None:
            self.bar.set_description(doing or None)

    def finished(self, picture: int) -> None:
        """Also one that has failed."""
        if self.parts is not None:
            self.parts.report(picture, self.per_picture, self.per_picture)

    def say(self, sentence: str) -> None:
        sentence = printable(sentence)
        if self.bar is None:
            print(sentence, file=sys.stderr)
        else:
            self.bar.write(sentence, file=sys.stderr)

    def say_notes(self, path: Path, image: Image.Image) -> None:
        """What was done to a picture on reading."""
        for note in notes_of(image):
            self.say_note(path, note)

    def say_note(self, path: Path, note: str) -> None:
        self.say(f"{path.name}: {note}.")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
