"""Finding the broken rows of a pair set before anything is made of it; python -m ip2p dataset check."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO

from ..errors import EditError
from ..files import written_whole
from ..images import size_of_whole
from ..progress import bar
from .pairs import AFTER, BEFORE, SET_HELP, SPLIT_HELP, BrokenRow, PairSet, check_aspects, mask_of, open_pairs

MAX_BROKEN = 0.01
SAVED_EVERY = 30.0  # seconds
THREADS = min(os.cpu_count() or 1, 8)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("set", metavar="SET", help=SET_HELP)
    add("--split", help=SPLIT_HELP)
    add("--max-broken", type=float, default=MAX_BROKEN, metavar="SHARE", help=f"more of it is an error; {MAX_BROKEN} when left out")
    add("--again", action="store_true", help="also what was checked before")


def run(args: argparse.Namespace) -> int:
    if not 0 <= args.max_broken <= 1:
        raise EditError(f"--max-broken is a share between 0 and 1, not {args.max_broken}.")
    pairs = open_pairs(args.set, args.split, in_order=True)
    broken = broken_rows(pairs, sys.stdout, again=args.again)
    print(f"{len(pairs) - len(broken)} of {len(pairs)} rows are whole.")
    judge(pairs, len(broken), args.max_broken)
    return 0


def check_pairs(pairs: PairSet, max_broken: float = MAX_BROKEN, report: Callable[[str], None] | None = None) -> list[int]:
    """The rows that can be used, in order. Every row's pictures are decoded once; a broken one is named by `report` (stderr when left
    out), and their count at the end. The result is kept in the cache of `datasets`, so that the next start does not decode again, and
    an interrupted check goes on where it stopped.

    Raises EditError when there are no rows, or more than the share `max_broken` of them is broken, as soon as that is known.
    """
    broken = broken_rows(pairs, report or sys.stderr, math.floor(max_broken * len(pairs)))
    if broken:
        (report or say)(f"{pairs.name}: {len(broken)} of {len(pairs)} rows are broken and skipped.")
    judge(pairs, len(broken), max_broken)
    return [i for i in range(len(pairs)) if i not in broken]


def say(line: str) -> None:
    print(line, file=sys.stderr)


def judge(pairs: PairSet, broken: int, max_broken: float) -> None:
    """Raises EditError when too many are broken, or all there are."""
    if not len(pairs):
        raise EditError(f"{pairs.name} has no rows.")
    if broken > max_broken * len(pairs) or broken == len(pairs):
        raise EditError(
            f"{pairs.name}: at least {broken} of {len(pairs)} rows are broken, and {max_broken:.2%} may be: "
            "mend them, take them out by python -m ip2p dataset convert, or allow a larger share."
        )


def broken_rows(pairs: PairSet, report: Callable[[str], None] | IO[str], most: int | None = None, again: bool = False) -> dict[int, str]:
    """Row: what is wrong with it. report: told of each, or a file they are printed to. Ends early when more than `most` are broken."""
    from .tables import cache_folder

    file = cache_folder() / "ip2p" / f"checked-{pairs.fingerprint}.json"
    done, broken = (0, {}) if again else found_before(file, len(pairs))
    before = done
    shown, saved = bar(len(pairs), "row"), time.monotonic()
    tell = report if callable(report) else partial(shown.write, file=report)
    try:
        for reason in broken.values():
            tell(reason)
        if done == len(pairs):
            return broken
        shown.update(done)
        for i, row in verified(pairs, done):
            if isinstance(row, BrokenRow):
                broken[i] = str(row)
                tell(broken[i])
            done = i + 1
            shown.update()
            if most is not None and len(broken) > most:
                break
            if time.monotonic() - saved > SAVED_EVERY:
                save(file, done, broken)
                saved = time.monotonic()
    finally:
        shown.close()
        if done > before:
            save(file, done, broken)
    return broken


def found_before(file: Path, rows: int) -> tuple[int, dict[int, str]]:
    try:
        found = json.loads(file.read_text(encoding="utf8"))
        return min(int(found["checked"]), rows), {int(i): str(reason) for i, reason in found["broken"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def save(file: Path, done: int, broken: dict[int, str]) -> None:
    with written_whole(file, force=True) as beside:
        beside.write_text(json.dumps({"checked": done, "broken": broken}), encoding="utf8")


def verified(pairs: PairSet, start: int = 0) -> Iterator[tuple[int, dict | BrokenRow]]:
    """Every row's number with the row as `PairSet.raw` gives it, or what is wrong with it. Pictures are decoded in threads."""

    def outcome(i: int, row: dict | BrokenRow) -> dict | BrokenRow:
        try:
            if isinstance(row, dict):
                check_row(row)
        except EditError as e:
            return pairs.broken(i, e)
        return row

    def read(i: int) -> dict | BrokenRow:
        try:
            return pairs.raw(i)
        except BrokenRow as e:
            return e

    with ThreadPoolExecutor(THREADS) as threads:
        for first in range(start, len(pairs), 2 * THREADS):
            numbers = range(first, min(first + 2 * THREADS, len(pairs)))
            yield from zip(numbers, threads.map(outcome, numbers, [read(i) for i in numbers]))


def check_row(row: dict) -> None:
    """Raises EditError when a picture can't be decoded to its end, is too large, or the two have different aspects."""
    before, after = (size_of_whole(io.BytesIO(row[name]), what) for name, what in (("original_image", BEFORE), ("edited_image", AFTER)))
    check_aspects(before, after)
    if row["mask"]:
        mask_of(row["mask"])
