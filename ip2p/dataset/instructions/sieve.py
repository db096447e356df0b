"""All answers of a run, or of several, sorted into rows and rejected ones, in the order of their ids, with memory that does not grow."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

from .paper_format import parsed
from .rules import Rules, is_near
from .triplets import plain

COLUMNS = ("id", "input", "edit", "output", "url", "licence", "split", "model", "version", "prompt")
BATCH = 5000

Row = dict[str, Any]


def sifted(records: Iterable[Row], rules: Rules) -> Iterator[tuple[Row, str]]:
    """records: of `triplets.record_of`, in any order, the same id any number of times. → (row with COLUMNS, "") or (record, reason).

    What comes out depends on the set of records alone: of duplicates the one with the lowest id is kept.
    """
    with closing(sqlite3.connect("")) as database:  # a file of its own that goes when it is closed
        database.execute("CREATE TABLE answers (id TEXT, caption TEXT, failed INTEGER, record TEXT)")
        database.execute("CREATE TABLE verdicts (id TEXT, reason TEXT, record TEXT)")
        fill(database, "answers", map(answer_of, records))
        by_caption = database.execute("SELECT caption, record FROM answers ORDER BY caption, id, failed, record")
        fill(database, "verdicts", verdicts(by_caption, rules))
        for reason, text in database.execute("SELECT reason, record FROM verdicts ORDER BY id"):
            yield json.loads(text), reason


def answer_of(record: Row) -> tuple[str, str, int, str]:
    """A row of the table: of one id, what failed comes after what a later run wrote."""
    return record["id"], plain(record["input"]), bool(record["problem"]), json.dumps(record, sort_keys=True)


def fill(database: sqlite3.Connection, table: str, rows: Iterable[tuple]) -> None:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH)):
        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(batch[0]))})", batch)


def verdicts(by_caption: Iterable[tuple[str, str]], rules: Rules) -> Iterator[tuple[str, str, str]]:
    """(caption, record) by caption and id → (id, reason, row or record)."""
    for _, group in itertools.groupby(by_caption, key=lambda pair: pair[0]):
        kept: list[tuple[str, str]] = []
        last = None
        for _, text in group:
            record = json.loads(text)
            if record["id"] == last:
                continue
            last = record["id"]
            reason, edit, output = rules.reason_against(record)
            if not reason:
                reason = against_others(edit, output, kept)
            if reason:
                yield last, reason, text
            else:
                kept.append((edit, output))
                row = record | {"edit": edit, "output": output}
                yield last, "", json.dumps({name: row[name] for name in COLUMNS})


def against_others(edit: str, output: str, kept: list[tuple[str, str]]) -> str:
    """kept: instructions and edited captions of the same caption, which another run may have written with other signs at its end."""
    if (plain(edit), plain(output)) in [(plain(one), plain(other)) for one, other in kept]:
        return "duplicate"
    return "near duplicate" if is_near(edit, [one for one, _ in kept]) else ""


def rejected(record: Row, reason: str) -> Row:
    """What is kept of a rejected answer."""
    edit, output = parsed(record["text"]) or ("", "")
    return record | {"reason": reason, "edit": edit, "output": output}
