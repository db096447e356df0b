"""Sentences of the page, all at one place: what can't be done, what was stopped, what a picture was converted from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from typing import Any

import gradio as gr

from ..errors import EditError


def said(*sentences: str) -> str:
    """HTML that a screen reader reads out as it appears."""
    return f"<p role='alert'>{escape(' '.join(sentences))}</p>" if sentences else ""


def in_page(event: Callable[..., Iterator[tuple]], outputs: int) -> Callable[..., Iterator[tuple]]:
    """The event as the page's buttons have it: a refusal becomes a sentence in the last of its outputs and leaves the others as they are."""

    @wraps(event)
    def run(*args: Any) -> Iterator[tuple]:
        try:
            yield from event(*args)
        except EditError as e:
            yield (*[gr.skip()] * (outputs - 1), said(str(e)))

    return run


def for_programs(event: Callable[..., Iterator[tuple]]) -> Callable[..., tuple]:
    """The event as a program calls it, which waits for its end: a refusal is an error of the request."""

    @wraps(event)
    def run(*args: Any) -> tuple:
        try:
            return list(event(*args))[-1]
        except EditError as e:
            raise gr.Error(str(e), print_exception=False) from e

    return run
