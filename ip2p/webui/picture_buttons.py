"""Pictures as a list of buttons, each with its whole file to download: the strip of the history, the cells of a contact sheet."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .pictures import served


@dataclass(frozen=True)
class Tile:
    """number: what the page's script is told on a press; shown: the file of the small picture; whole: the one to download; here: whether
    it is the one that is shown now."""

    number: int
    words: str
    shown: Path
    whole: Path
    here: bool = False

    def markup(self) -> str:
        words = html.escape(self.words)
        current = " aria-current='true'" if self.here else ""
        return (
            f"<li><button type='button' data-tile='{self.number}'{current}><img src='{served(self.shown)}' alt=''><span>{words}</span></button>"
            f"<a href='{served(self.whole)}' download='{html.escape(self.whole.name)}' title='Download' aria-label='Download “{words}”'>⬇</a></li>"
        )


def tiles(entries: Iterable[Tile], columns: int | None = None) -> str:
    """The list as HTML: in a row that scrolls, or in so many columns."""
    kind = f"ip2p-tiles ip2p-grid' style='--ip2p-columns: {columns}" if columns else "ip2p-tiles"
    return f"<ol class='{kind}'>{''.join(entry.markup() for entry in entries)}</ol>"
