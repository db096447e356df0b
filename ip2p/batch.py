"""Many pictures and one edit: what its results are called and which of them are finished, a bad picture named and passed over, all of them as one ZIP."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

from PIL import Image

from .checkpoints.fingerprint import fingerprint_of
from .checkpoints.recognise import sha256
from .edit import Edit
from .errors import EditError
from .files import PICTURE_SUFFIXES, check_place, why, written_whole
from .images import HERE, Limits, exif_to_keep, natural_order, pictures_in, read_image, save_picture, settings_in

STAMP = 32  # hexadecimal digits, as EXIF's unique id of a picture has them
OF_A_PICTURE = ("image", "mask", "parts", "part", "variants")  # settings of `Edit` that every picture has its own of, or a batch none

EditOne = Callable[[Image.Image], Sequence[tuple[Image.Image, str]]]


@dataclass(frozen=True)
class Task:
    """A picture, the files to write of it, and the stamp that they get."""

    source: Path
    targets: Sequence[Path]
    stamp: str = ""


class Stamps:
    """One digest of everything that a result comes from: the contents of picture and mask, the settings, and the model's weights. It holds
    no path and no time, so that a moved model or a copied folder changes nothing, and tells nothing to whom the result is shared with."""

    def __init__(self, settings: Mapping[str, Any], model: str, mask: Path | None = None):
        self.shared = {"settings": dict(settings), "model": fingerprint_of(model, named=False), "mask": mask and contents_of(mask)}

    def of(self, source: Path) -> str:
        return hashlib.sha256(json.dumps({**self.shared, "picture": contents_of(source)}, sort_keys=True).encode()).hexdigest()[:STAMP]


def contents_of(path: Path) -> str:
    """A digest of a file; of what can't be read an empty text, since the edit itself says what is wrong with it."""
    try:
        return sha256(path) if path.is_file() else ""
    except OSError:
        return ""


def settings_of(edit: Edit) -> dict[str, Any]:
    """What `Stamps` takes of an edit that is the same for every picture."""
    settings = {f.name: getattr(edit, f.name) for f in fields(edit) if f.name not in OF_A_PICTURE}
    if edit.speed == Edit.speed:  # as what was made before there was a choice
        del settings["speed"]
    return settings | {"region": edit.region and edit.region.text}


def names_of(stem: str, count: int, suffix: str = ".png") -> list[str]:
    """Of the files of a picture's results."""
    return [f"{stem}{suffix}"] if count == 1 else [f"{stem}-{i + 1}{suffix}" for i in range(count)]


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


def sources_in(folder: Path, results: Path, recursive: bool = False) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The pictures of a folder to edit, in natural order, and what is passed over, each with the reason in a few words. results: where
    those of an earlier run lie, which are no pictures to edit.

    Raises EditError where the folder can't be read, and where the results' folder is that of the pictures.
    """
    if results.exists() and results.samefile(folder):
        raise EditError("The output is the folder of the pictures itself: choose another one.")
    pictures, others = pictures_in(folder, recursive)
    # What has a picture's name and is none is named as failed and not passed over.
    damaged = [path for path, _ in others if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    within = results.resolve()
    sources = [path for path in (*pictures, *damaged) if not path.resolve().is_relative_to(within)]
    sources.sort(key=lambda path: natural_order(path.relative_to(folder)))
    return sources, [(path, reason) for path, reason in others if path not in damaged]


@dataclass
class Outcome:
    """What became of the pictures of a batch. results: the files of the finished ones, those of earlier runs too; failed: of each that
    failed its name and why; stopped: whether the rest was not begun."""

    pictures: int
    results: list[Path] = field(default_factory=list)
    edited: int = 0
    there: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    stopped: bool = False

    @property
    def sentence(self) -> str:
        left = self.pictures - self.edited - self.there - len(self.failed)
        parts = [f"{self.edited} edited", f"{self.there} there already", f"{len(self.failed)} failed"]
        return f"{', '.join([*parts, f'{left} left'] if left else parts)}."


@dataclass(frozen=True)
class Batch:
    """Pictures that are edited one after another into a folder, in which nothing is overwritten: what is there of another picture, or
    with other settings, keeps its name, and the results get a number.

    stems: of their results, by `stems_of`; count: results of each; suffix: of their files; quality: of JPEG and WebP, 0–100; metadata:
    whether a photograph's date, place and camera go into its results; background, limits: as `read_image` takes them.
    """

    sources: Sequence[Path]
    stems: Sequence[Path]
    folder: Path
    stamps: Stamps
    count: int = 1
    suffix: str = ".png"
    quality: int = 95
    metadata: bool = True
    background: str = "white"
    limits: Limits = HERE

    def run(self, edit_one: EditOne, is_stopped: Callable[[], bool], on_picture: Callable[[int], None]) -> Outcome:
        """edit_one: a picture's results and their infotexts, none where it was stopped or skipped; on_picture: is told each picture's place
        before it is begun."""
        outcome = Outcome(len(self.sources))
        for place, (source, stem) in enumerate(zip(self.sources, self.stems)):
            if is_stopped():
                outcome.stopped = True
                break
            on_picture(place)
            try:
                task, finished = self.task(source, stem)
                if finished:
                    outcome.there += 1
                elif self._edit(task, edit_one):
                    outcome.edited += 1
                elif is_stopped():
                    outcome.stopped = True
                    break
                else:
                    raise EditError("skipped")
                outcome.results += task.targets
            except (EditError, OSError, MemoryError) as e:
                outcome.failed.append((source.name, " ".join(str(e).split()) if isinstance(e, EditError) else why(e)))
        return outcome

    def task(self, source: Path, stem: Path) -> tuple[Task, bool]:
        """What is to be written of a picture, and whether it is there. Raises EditError where it can't be written."""
        stamp, number = self.stamps.of(source), 1
        while True:
            name = stem.name if number == 1 else f"{stem.name} ({number})"
            task = Task(source, [(self.folder / stem).parent / name for name in names_of(name, self.count, self.suffix)], stamp)
            for target in task.targets:
                check_place(target)
            there = [target for target in task.targets if target.exists()]
            if all(settings_in(target) == stamp for target in there):
                return task, len(there) == len(task.targets)
            number += 1

    def _edit(self, task: Task, edit_one: EditOne) -> bool:
        picture = read_image(task.source, background=self.background, limits=self.limits)
        exif = exif_to_keep(picture) if self.metadata else None
        results = edit_one(picture)
        for target, (image, infotext) in zip(task.targets, results):
            save_picture(image, target, infotext=infotext, settings=task.stamp, exif=exif, quality=self.quality)
        return bool(results)


def zip_files(files: Iterable[Path], folder: Path, path: Path) -> None:
    """Writes files below `folder` into one ZIP, whole or not at all, over what is there; pictures are packed already. Raises EditError."""
    with written_whole(path, force=True) as beside, ZipFile(beside, "w", ZIP_STORED) as packed:
        for file in files:
            packed.write(file, file.relative_to(folder).as_posix())
