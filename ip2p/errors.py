"""The one error that people see."""

import re

# What a terminal acts on instead of showing it, what turns its text around, and bytes of a file's name that are no text.
UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class EditError(ValueError):
    """A sentence for the person who asked: what is wrong with the request and what to do."""


def printable(text: str) -> str:
    """A text with names of files in it as it can be printed: what is no letter or sign becomes �; tabs and ends of lines stay."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
