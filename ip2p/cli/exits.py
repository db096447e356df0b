"""Exit statuses of the command line, and the one line that explains them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

BAD_INPUT, INTERRUPTED = 2, 130


def note(sentence: str) -> None:
    """Prints the sentence on stderr."""
    from ..errors import printable

    print(printable(sentence), file=sys.stderr)


def say(sentence: str, status: int) -> int:
    """Prints the sentence on stderr → the status."""
    note(sentence)
    return status


def listed(names: Sequence[str], longest: int = 10) -> str:
    """The first ones with commas between, and how many more there are."""
    more = f" and {len(names) - longest} more" if len(names) > longest else ""
    return f"{', '.join(names[:longest])}{more}"


def name_bad(what: str, file: Path, bad: Sequence[tuple[str, str]]) -> None:
    """bad: where what can't be used is in the file, and why it can't."""
    if bad:
        note(f"{len(bad)} {what} of {file} can't be used: {listed([f'{place} {reason}' for place, reason in bad])}.")
