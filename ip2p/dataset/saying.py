"""Saying sentences, also while a progress bar is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import IO, Any

from ..errors import printable

Report = Callable[[str], None] | IO[str] | None  # is called with each sentence, or the file to print them to; None is stderr


def sayer(report: Report, shown: Any = None) -> Callable[[str], None]:
    """shown: a bar of progress.py, which is not to be torn by what is printed."""

    def say(sentence: str) -> None:
        sentence = printable(sentence)
        if callable(report):
            report(sentence)
        elif shown is None:
            print(sentence, file=report or sys.stderr)
        else:
            shown.write(sentence, file=report or sys.stderr)

    return say
