"""What `edit` writes where: names of results, and the stamp by which a later run knows what is finished."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..chain import lines_of
from ..checkpoints.fingerprint import fingerprint_of
from ..checkpoints.recognise import sha256
from ..edit import Edit
from ..errors import EditError
from ..files import PICTURE_SUFFIXES, check_place, why
from ..images import natural_order, pictures_in, settings_in
from .exits import listed

WRITTEN = (".png", ".jpg", ".jpeg", ".webp")
STAMP = 32  # hexadecimal digits, as EXIF's unique id of a picture has them


@dataclass(frozen=True)
class Request:
    """What is done to every picture. `edit` has a placeholder for the picture. A grid has several of its scales; `sheet`: all results go
    into one picture. settings: what a result depends on beside its picture, the mask and the model; keep_metadata: date, place and camera."""

    edit: Edit
    text_scales: Sequence[float]
    image_scales: Sequence[float]
    grid: bool
    compare: bool
    every_step: bool
    keep_metadata: bool
    settings: Mapping[str, Any]

    @property
    def sheet(self) -> bool:
        return self.grid or self.compare

    def names(self, stem: str, suffix: str = ".png") -> list[str]:
        """The files to write: of each line in turn its results, in the order of `written`."""
        if self.sheet:
            return [f"{stem}{suffix}"]
        count = self.edit.count
        stems = [stem] if count == 1 else [f"{stem}-{i + 1}" for i in range(count)]
        if not self.every_step:
            return [f"{stem}{suffix}" for stem in stems]
        return [f"{stem}-step-{line + 1}{suffix}" for line in range(len(lines_of(self.edit))) for stem in stems]


@dataclass(frozen=True)
class Task:
    """A picture, the files to write of it, and the stamp that they get."""

    source: Path
    targets: Sequence[Path]
    stamp: str = ""


class Stamps:
    """One digest of everything that a result comes from: the contents of picture and mask, the settings, and the model's weights. It holds
    no path and no time, so that a moved model or a copied folder changes nothing, and tells nothing to whom the result is shared with."""

    def __init__(self, settings: Mapping[str, Any], model: str, mask: Path | None):
        self.shared = {"settings": dict(settings), "model": fingerprint_of(model, named=False), "mask": mask and contents_of(mask)}

    def of(self, source: Path) -> str:
        return hashlib.sha256(json.dumps({**self.shared, "picture": contents_of(source)}, sort_keys=True).encode()).hexdigest()[:STAMP]


def contents_of(path: Path) -> str:
    """A digest of a file; of what can't be read an empty text, since the edit itself says what is wrong with it."""
    try:
        return sha256(path) if path.is_file() else ""
    except OSError:
        return ""


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
    if place.exists() and place.samefile(folder):
        raise EditError("The output is the folder of the pictures itself: choose another one.")
    pictures, others = pictures_in(folder, recursive)
    # What has a picture's name and is none is named as failed and not passed over.
    damaged = [path for path, _ in others if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    results = place.resolve()  # of an earlier run, where they lie in the folder itself
    sources = [path for path in (*pictures, *damaged) if not path.resolve().is_relative_to(results)]
    sources.sort(key=lambda path: natural_order(path.relative_to(folder)))
    passed_over = sentence_of_passed_over(folder, [(path, reason) for path, reason in others if path not in damaged])
    if not sources:
        raise EditError(f"There are no pictures in {folder}. {passed_over}".strip())
    stems = stems_of([path.relative_to(folder) for path in sources])
    tasks = [Task(path, [(place / stem).parent / name for name in request.names(stem.name)]) for path, stem in zip(sources, stems)]
    return tasks, passed_over


def stems_of(sources: Sequence[Path]) -> list[Path]:
    """For every picture the path of its results without a suffix, no two of them equal: its own without its suffix, or where another
    picture's would be the same, with it. Equal means on any file system: without regard to case, in one Unicode form."""

    def key(path: Path) -> str:
        return unicodedata.normalize("NFC", str(path)).casefold()

    stems, names = Counter(key(path.with_name(path.stem)) for path in sources), Counter(map(key, sources))
    seen: Counter[str] = Counter()
    unique = []
    for path in sources:
        stem = path.with_name(path.stem)
        others = stems[key(stem)] - 1 + names[key(stem)] - (stem == path)
        result = path if others else stem
        seen[key(result)] += 1
        again = seen[key(result)]
        unique.append(result if again == 1 else result.with_name(f"{result.name} ({again})"))
    return unique


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
