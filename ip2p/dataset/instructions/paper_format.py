"""The text format that the paper fine-tuned its language model on (arXiv 2211.09800, section 3.1, and its published code)."""

from __future__ import annotations

PROMPT_END, BETWEEN, STOP = "\n##\n", "\n%%\n", "\nEND"
MARKS = ("##", "%%")


def prompt(caption: str) -> str:
    return caption + PROMPT_END


def completion(edit: str, output: str) -> str:
    return edit + BETWEEN + output + STOP


def parsed(text: str) -> tuple[str, str] | None:
    """A completion → (instruction, edited caption); None where these are not exactly two, each on a line of its own, or it did not end."""
    content, stop, _ = text.partition(STOP)
    parts = content.split(BETWEEN)
    if not stop or len(parts) != 2:
        return None
    edit, output = (part.strip() for part in parts)
    if not edit or not output or any("\n" in part or any(mark in part for mark in MARKS) for part in (edit, output)):
        return None
    return edit, output
