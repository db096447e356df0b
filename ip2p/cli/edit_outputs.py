"""What `edit` writes where, and what of it is there already (`ip2p/batch.py`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..batch import Stamps, Task, names_of, sources_in, stems_of
from ..chain import lines_of
from ..checkpoints.lora import Lora
from ..edit import Edit
from ..errors import EditError
from ..files import PICTURE_SUFFIXES, check_place, why
from ..images import settings_in
from ..presets import slug
from .exits import listed

WRITTEN = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Request:
    """What is done to every picture. `edit` has a placeholder for the picture. A grid has several of its scales; `sheet`: all results go
    into one picture. settings: what a result depends on beside its picture, the mask and the model; keep_metadata: date, place and camera;
    words: of variations the word that each fills in; loras: added to the model's weights."""

    edit: Edit
    text_scales: Sequence[float]
    image_scales: Sequence[float]
    grid: bool
    compare: bool
    every_step: bool
    keep_metadata: bool
    settings: Mapping[str, Any]
    words: Sequence[str] = ()
    loras: Sequence[Lora] = ()

    @property
    def sheet(self) -> bool:
        return self.grid or self.compare

    def names(self, stem: str, suffix: str = ".png") -> list[str]:
        """The files to write: of each line in turn its results, in the order of `written`."""
        if self.sheet:
            return [f"{stem}{suffix}"]
        if self.words:
            return [f"{stem}-{slug(word)}{suffix}" for word in self.words]
        if not self.every_step:
            return names_of(stem, self.edit.count, suffix)
        stems = names_of(stem, self.edit.count, "")
        return [f"{stem}-step-{line + 1}{suffix}" for line in range(len(lines_of(self.edit))) for stem in stems]


def tasks_of(source: Path, output: str, request: Request, recursive: bool, mask: Path | None) -> tuple[list[Task], str]:
    """Every picture and the files to write of it, in natural order; and a sentence about what is passed over, or nothing.
    output: as it was typed, since a trailing slash makes it a folder's name whatever that is.

    Raises EditError when there is nothing to edit, and for an output that can't be written or is a source.
    """
    place = Path(output)
    as_folder = output.endswith(("/", os.sep)) or place.is_dir()
    passed_over = ""
    if source.is_dir():
        tasks, passed_over = tasks_of_folder(source, place, as_folder, request, recursive)
    else:
        tasks = [task_of_file(source, place, as_folder, request)]
    sources = [*(task.source for task in tasks), *([mask] if mask else [])]
    taken = {identity(path): path for path in sources if path.exists()}
    for target in (target for task in tasks for target in task.targets):
        if is_there(target) and (same := taken.get(identity(target))):
            what = "mask" if same == mask else "picture"
            raise EditError(f"The output {target} is the {what} itself: choose another name.")
    return tasks, passed_over


def task_of_file(source: Path, place: Path, as_folder: bool, request: Request) -> Task:
    if not source.exists():
        raise EditError(f"There is no picture {source}.")
    if as_folder or not place.suffix:
        return Task(source, [place / name for name in request.names(source.stem)])
    if place.suffix.lower() not in WRITTEN:
        raise EditError(
            f"Results are written as PNG, JPEG or WebP: let {place.name} end with .png, .jpg or .webp, or with / if it is to be a folder."
        )
    return Task(source, [place.parent / name for name in request.names(place.stem, place.suffix)])


def tasks_of_folder(folder: Path, place: Path, as_folder: bool, request: Request, recursive: bool) -> tuple[list[Task], str]:
    if not as_folder and (place.suffix.lower() in PICTURE_SUFFIXES or place.exists()):
        raise EditError(f"A folder is edited into a folder, and {place} is a file's name.")
    sources, others = sources_in(folder, place, recursive)
    passed_over = sentence_of_passed_over(folder, others)
    if not sources:
        raise EditError(f"There are no pictures in {folder}. {passed_over}".strip())
    stems = stems_of([path.relative_to(folder) for path in sources])
    tasks = [Task(path, [(place / stem).parent / name for name in request.names(stem.name)]) for path, stem in zip(sources, stems)]
    return tasks, passed_over


def sentence_of_passed_over(folder: Path, others: Sequence[tuple[Path, str]]) -> str:
    if not others:
        return ""
    shown = listed([f"{path.relative_to(folder)} ({reason})" for path, reason in others])
    hint = "; --recursive takes the pictures of folders" if any(path.is_dir() and not path.is_symlink() for path, _ in others) else ""
    return f"{len(others)} passed over: {shown}{hint}."


def writable(task: Task) -> str | None:
    """Why the results of a picture can't be written, found out before they are computed; or None."""
    try:
        for target in task.targets:
            check_place(target)
    except EditError as e:
        return str(e)
    return None


def unfinished(tasks: Sequence[Task], stamps: Stamps, force: bool) -> tuple[list[Task], int]:
    """What is still to do, with its stamp, and how many pictures are finished. Raises EditError when a file that is there is no result of
    this picture with these settings."""
    todo = []
    for task in tasks:
        stamp = stamps.of(task.source)
        existing = [] if force else [target for target in task.targets if is_there(target)]
        for target in existing:
            check_stamp(target, stamp)
        if force or len(existing) < len(task.targets):
            todo.append(Task(task.source, task.targets, stamp))
    return todo, len(tasks) - len(todo)


def check_stamp(target: Path, stamp: str) -> None:
    """Raises EditError unless the file was made from what the stamp is of."""
    written = settings_in(target)
    if written == stamp:
        return
    if written and written.startswith("{"):
        raise EditError(
            f"{target} was made by an earlier version, which did not note what picture it edited: "
            "--force makes it again, or choose another --output."
        )
    raise EditError(
        f"{target} exists already and was made from another picture or mask, with another model or with other settings: "
        "choose another --output, or overwrite it with --force."
    )


def identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as e:  # a name that is too long
        raise EditError(f"{path} could not be written: {why(e)}.") from e
