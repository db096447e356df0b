"""How a run of pairs stands, finished or not, whether it is still written to or not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..runs import read_object
from .pair_run import SETTINGS, SHARDS, record_in

LONGEST_LIST = 10  # reasons that are named


def told(folder: Path) -> list[str]:
    """Lines for the terminal. Raises EditError where a file can't be read."""
    settings = read_object(folder / SETTINGS)
    rows, samples, shard = (int(settings.get(name, 0)) for name in ("row_count", "samples", "shard"))
    shards = -(-rows // max(shard, 1))
    records = [record for number in range(shards) if (record := record_in(folder, number)) is not None]
    pairs = sum(record["pairs"] for record in records)
    aside = Counter(row["reason"] for record in records for row in record["set_aside"])
    size = sum(file.stat().st_size for file in (folder / SHARDS).glob("*.parquet"))
    finished = sum(len(record["ids"]) for record in records)
    said = [
        ("wanted", f"{rows * samples:,} pairs of {rows:,} rows"),
        ("finished", f"{finished:,} rows ({finished / max(rows, 1):.1%}), {len(records):,} of {shards:,} shards"),
        ("pairs", f"{pairs:,}, {size / 1e6:,.1f} MB"),
        ("drawn by", str(settings.get("model", "–"))),
        ("set aside", f"{aside.total():,} rows"),
    ]
    if settings.get("safety"):
        said.append(
            ("flagged", f"{sum(sum(record.get('flagged', {}).values()) for record in records):,} pairs, by the model's safety checker")
        )
    if stop := settings.get("stop_after"):
        said.append(("ended", f"each row after {stop['good']} good samples: these are not the best of {samples}"))
    return [f"{name:<12}{text}" for name, text in said] + [f"  {count:>9,}  {why}" for why, count in aside.most_common(LONGEST_LIST)]
