"""python -m ip2p dataset photos: pairs from a folder of photographs, by procedural edits."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ..dataset.licences import REFUSED, allowed, read_licences
from ..dataset.plan import HELD_OUT, MULTIPLE, PHOTO, SIZE, TRAIN, Plan
from ..errors import EditError
from ..files import refuse_existing, remove
from .exits import listed, note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=Path, help="a folder of photographs, searched with its subfolders; their names serve as captions")
    add("--output", type=Path, required=True, help="the pair set to write, .parquet")
    add("--size", type=int, default=SIZE, help=f"shorter side in pixels; the aspect is kept (default: {SIZE})")
    add("--kinds", help="kinds of edits, with commas between (default: all)")
    add("--per-photo", type=int, metavar="N", help="kinds drawn for each photograph (default: every kind that suits it)")
    add("--values", type=int, default=1, metavar="N", help="colours, metals or strengths drawn for each photograph and kind (default: 1)")
    add("--held-out", type=float, default=HELD_OUT, metavar="SHARE", help=f"photographs kept from training (default: {HELD_OUT})")
    add("--hold-out", action="append", default=[], metavar="NAME", help="a photograph to keep from training; may be given several times")
    add("--licences", type=Path, metavar="CSV", help="a table with the columns file and licence")
    add("--allow", metavar="NAMES", help="take only photographs whose licence names one of these, as CC0,PD,CC-BY,CC-BY-SA")
    add("--refuse", default=REFUSED, metavar="NAMES", help=f"and none of these (default: {REFUSED})")
    add("--seed", type=int, default=0, help="draws kinds, values and phrasings; the same seed makes the same pairs (default: 0)")
    add("--force", action="store_true", help="overwrite the output")


def run(args: argparse.Namespace) -> int:
    """Takes minutes; what is interrupted goes on where it stopped."""
    from ..dataset.kept_pairs import KeptPairs, folder_beside

    if args.output.is_file() and not args.force:
        remove(folder_beside(args.output))  # of a run that was killed when its pair set was there
    check(args)
    from ..dataset.parquet_writer import write_rows
    from ..dataset.photos import counted, kinds_named, photo_rows, photographs

    passed_over: list[str] = []
    photos = photographs(args.folder, lambda path, reason: passed_over.append(f"{path.relative_to(args.folder)} ({reason})"))
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
    kinds = kinds_named(args.kinds, note)
    plan = Plan(kinds, args.size, args.per_photo, args.values, args.held_out, frozenset(args.hold_out), licences, args.seed)
    counts: Counter[tuple[str, str]] = Counter()
    skipped: list[str] = []
    kept = KeptPairs(args.output, plan)
    rows = write_rows(counted(photo_rows(photos, args.folder, plan, skipped.append, kept), counts), args.output, args.force)
    kept.remove()
    if passed_over:
        note(f"{len(passed_over)} passed over: {listed(passed_over)}.")
    for sentence in skipped:
        note(sentence)
    photos_in = {split: len({photo for photo, its_split in counts if its_split == split}) for split in (TRAIN, PHOTO)}
    held_out = sum(count for (_, split), count in counts.items() if split == PHOTO)
    print(
        f"Wrote {args.output}: {rows} pairs, {args.output.stat().st_size / 1e6:,.0f} MB, "
        f"of {photos_in[TRAIN]} photographs to train on and {photos_in[PHOTO]} held out ({held_out} pairs)."
    )
    return 0


def check(args: argparse.Namespace) -> None:
    """Raises EditError for an option that can't be used, before anything is read."""
    from ..edit import MAX_SIDE, MIN_SIDE

    if args.output.suffix.lower() != ".parquet":
        raise EditError(f"The pair set is a .parquet file, and {args.output.name} is not.")
    refuse_existing(args.output, args.force)
    if not MIN_SIDE <= args.size <= MAX_SIDE or args.size % MULTIPLE:
        raise EditError(f"--size is a multiple of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}, not {args.size}.")
    if not 0 <= args.held_out < 1:
        raise EditError(f"--held-out is a share from 0 to below 1, not {args.held_out:g}.")
    for option, number in (("--per-photo", args.per_photo), ("--values", args.values)):
        if number is not None and number < 1:
            raise EditError(f"{option} is at least 1, not {number}.")
