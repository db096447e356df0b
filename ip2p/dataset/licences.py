"""Which photographs may be trained on, by a table of their licences."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import EditError
from ..files import why

REFUSED = "GPL,LGPL,GFDL,NC,ND,undeclared"


def read_licences(table: Path) -> dict[str, str]:
    """File name: licence, from a CSV with the columns file and licence. Raises EditError for a table without them."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EditError(f"{table} can't be read: {why(e)}.") from e
    column = next((name for name in ("licence", "license") if rows and name in rows[0]), None)
    if column is None or "file" not in rows[0]:
        raise EditError(f"{table} needs the columns file and licence.")
    return {row["file"]: row[column] or "" for row in rows}


def allowed(licence: str, allow: str | None, refuse: str = REFUSED) -> bool:
    """Whether a licence names one of `allow` (any does where that is None) and none of `refuse`; both are names with commas between.
    A choice counts as all it names: “GPL-3+/PD” may be the GPL.
    """

    def names_one_of(names: str) -> bool:
        wanted = [re.escape(name.strip()) for name in names.split(",") if name.strip()]
        return bool(wanted) and re.search(rf"(?<![A-Za-z])({'|'.join(wanted)})(?![A-Za-z])", licence, re.IGNORECASE) is not None

    return (allow is None or names_one_of(allow)) and not names_one_of(refuse)
