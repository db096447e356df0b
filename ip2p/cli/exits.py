"""Exit statuses of the command line, and the one line that explains them."""

from __future__ import annotations

import sys

BAD_INPUT, INTERRUPTED = 2, 130


def say(sentence: str, status: int) -> int:
    """Prints the sentence on stderr → the status."""
    from ..errors import printable

    print(printable(sentence), file=sys.stderr)
    return status
