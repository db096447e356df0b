"""Finding the broken rows of a pair set before anything is made of it."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import EditError
from ..files import written_whole
from ..images import size_of_whole
from ..progress import bar
from .checked_files import parse_json
from .pairs import AFTER, BEFORE, BrokenRow, PairSet, check_aspects, mask_of
from .saying import Report, sayer
from .tables import cache_folder

MAX_BROKEN = 0.01
RULES = 2  # of what a broken row is
SAVED_EVERY = 30.0  # seconds
THREADS = min(os.cpu_count() or 1, 8)


def check_pairs(pairs: PairSet, max_broken: float = MAX_BROKEN, report: Report = None) -> list[int]:
    """The rows that can be used, in order. Every row's pictures are decoded once; broken ones are named by `report`,
    and their count at the end. The result is kept in the cache of `datasets`, so that the next start does not decode again, and
    an interrupted check goes on where it stopped.

    Raises EditError when there are no rows, or more than the share `max_broken` of them is broken, as soon as that is known.
    """
    broken = broken_rows(pairs, report, math.floor(max_broken * len(pairs)))
    if broken:
        sayer(report)(f"{pairs.name}: {len(broken)} of {len(pairs)} rows are broken and skipped.")
    judge(pairs, len(broken), max_broken)
    return [i for i in range(len(pairs)) if i not in broken]


def judge(pairs: PairSet, broken: int, max_broken: float) -> None:
    """Raises EditError when too many are broken, or all there are."""
    if not len(pairs):
        raise EditError(f"{pairs.name} has no rows.")
    if broken > max_broken * len(pairs) or broken == len(pairs):
        raise EditError(
            f"{pairs.name}: at least {broken} of {len(pairs)} rows are broken, and {max_broken:.2%} may be: "
            "mend them, take them out by python -m ip2p dataset convert, or allow a larger share."
        )


def broken_rows(pairs: PairSet, report: Report = None, most: int | None = None, again: bool = False) -> dict[int, str]:
    """Row: what is wrong with it. Ends early when more than `most` are broken. again: decodes what was decoded before, too."""
    file = cache_folder() / "ip2p" / f"checked-{RULES}-{pairs.fingerprint}.json"
    done, broken = (0, {}) if again else checked_before(file, len(pairs))
    start = done
    shown, saved = bar(len(pairs), "row"), time.monotonic()
    say = sayer(report, shown)
    try:
        for reason in broken.values():
            say(reason)
        if done == len(pairs):
            return broken
        shown.update(done)
        for i, row in verified(pairs, done):
            if isinstance(row, BrokenRow):
                broken[i] = str(row)
                say(broken[i])
            done = i + 1
            shown.update()
            if most is not None and len(broken) > most:
                break
            if time.monotonic() - saved > SAVED_EVERY:
                save(file, done, broken)
                saved = time.monotonic()
    finally:
        shown.close()
        if done > start:
            save(file, done, broken)
    return broken


def checked_before(file: Path, rows: int) -> tuple[int, dict[int, str]]:
    """How many rows were checked, and what is wrong with the broken ones."""
    try:
        values = parse_json(file.read_text(encoding="utf8"))
        return min(int(values["checked"]), rows), {int(i): str(reason) for i, reason in values["broken"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0, {}


def save(file: Path, done: int, broken: dict[int, str]) -> None:
    with written_whole(file, force=True) as beside:
        beside.write_text(json.dumps({"checked": done, "broken": broken}), encoding="utf8")


def verified(pairs: PairSet, start: int = 0) -> Iterator[tuple[int, dict[str, Any] | BrokenRow]]:
    """Every row's number with the row as `PairSet.raw` gives it, or what is wrong with it. Pictures are decoded in threads."""

    def outcome(i: int, row: dict[str, Any] | BrokenRow) -> dict[str, Any] | BrokenRow:
        try:
            if isinstance(row, dict):
                check_row(row)
        except EditError as e:
            return pairs.broken(i, e)
        return row

    def read(i: int) -> dict[str, Any] | BrokenRow:
        try:
            return pairs.raw(i)
        except BrokenRow as e:
            return e

    with ThreadPoolExecutor(THREADS) as threads:
        for first in range(start, len(pairs), 2 * THREADS):
            numbers = range(first, min(first + 2 * THREADS, len(pairs)))
            yield from zip(numbers, threads.map(outcome, numbers, [read(i) for i in numbers]))


def check_row(row: dict[str, Any]) -> None:
    """Raises EditError when a picture can't be decoded to its end, is too large, or the two have different aspects."""
    before, after = (size_of_whole(io.BytesIO(row[name]), what) for name, what in (("original_image", BEFORE), ("edited_image", AFTER)))
    check_aspects(before, after)
    if row["mask"]:
        mask_of(row["mask"])
