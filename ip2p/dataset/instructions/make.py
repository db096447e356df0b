"""One run: captions to answers in a folder, and answers to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import written_whole
from ...progress import bar
from ..runs import line_of
from . import page
from .captions import Bad, read_captions
from .figures import Figures, counted
from .rules import Rules
from .run_folder import PAGE, PARQUET, REJECTED, ROWS, RunFolder, answers_of, read_lines, read_settings, write_parquet
from .sieve import COLUMNS, rejected, sifted
from .triplets import Ask, Caption, asks_of, record_of, share_of
from .writer import Writer

PARTS = 1 << 40  # what a caption's hash is taken of to find its part


@dataclass(frozen=True)
class Wanted:
    """What is asked for. file, column: of captions. part: (i, n), the i-th of n parts of the captions, from 1. held_out: the share of
    captions kept from training. seed: of everything drawn."""

    file: Path
    column: str | None = None
    per_caption: int = 1
    part: tuple[int, int] = (1, 1)
    held_out: float = 0.1
    seed: int = 0


def asks(wanted: Wanted, bad: Callable[[Bad], None] | None = None) -> Iterator[Ask]:
    """Of the part's captions, each text once. bad: is called with each that can't be used. Raises EditError as `read_captions` does."""
    seen: set[int] = set()
    part, parts = wanted.part
    for caption in read_captions(wanted.file, wanted.column):
        if not isinstance(caption, Caption):
            if bad is not None:
                bad(caption)
        elif int(share_of(caption.text) * PARTS) % parts == part - 1 and (key := hash(caption.text)) not in seen:
            seen.add(key)
            yield from asks_of(caption, wanted.per_caption, wanted.seed)


def ask_all(wanted: Wanted, writer: Writer, run: RunFolder, total: int) -> None:
    """Adds the answers that are not there yet. Raises EditError; the answers there are stay."""
    by = {"model": writer.model, "version": writer.version, "prompt": writer.prompt}
    writer.spent(*run.tokens)
    shown = bar(total, "row", done=min(total, len(run.finished)))
    try:
        for ask, answer in writer.write(asks(wanted), run.finished):
            run.append(record_of(ask, answer, wanted.held_out, by))
            shown.set_postfix_str(writer.note(), refresh=False)
            shown.update()
    finally:
        shown.close()


def finish(folder: Path, rules: Rules, bad: Iterable[Bad] = ()) -> Figures:
    """Writes the rows and those rejected of the folder's answers, in the order of their ids, and the page: the same answers give the
    same bytes. Raises EditError."""
    figures = Figures()
    with (
        written_whole(folder / ROWS, force=True) as beside_rows,
        written_whole(folder / REJECTED, force=True) as beside_rejected,
        open(beside_rows, "w", encoding="utf8", newline="\n") as rows,
        open(beside_rejected, "w", encoding="utf8", newline="\n") as others,
    ):
        others.writelines(line_of({"reason": "caption", "place": place, "problem": problem}) for place, problem in bad)
        for row, reason in counted(verdicts(folder, rules), figures):
            (others if reason else rows).write(line_of(rejected(row, reason) if reason else row))
    write_parquet(folder / PARQUET, read_lines(folder / ROWS), COLUMNS)
    page.write_page(folder / PAGE, folder.name, read_settings(folder), figures)
    return figures


def verdicts(folder: Path, rules: Rules) -> Iterator[tuple[dict[str, Any], str]]:
    return sifted(answers_of(folder), rules)
