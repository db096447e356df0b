"""One run of the filter: pairs scored, chosen and written, with what became of each beside their scores."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import EditError
from ...files import written_whole
from ...scorers.pair_scorer import PairScorer, Scores
from ..conversion import refuse_target, whole_rows, write_as_named
from ..pairs import PairSet
from .score_store import REASON, ScoreStore
from .scoring import score_all, stored
from .selection import Selection, verdicts

RUN, VERDICTS = "filter.json", "verdicts.parquet"
GROUP = 10_000  # rows of a row group


@dataclass(frozen=True)
class Filtering:
    """source: the set's path or name. retry: pairs that could not be scored are tried again."""

    source: str | Path
    selection: Selection
    output: Path
    force: bool = False
    retry: bool = False


def filtered(pairs: PairSet, scorers: Sequence[PairScorer], store: ScoreStore, filtering: Filtering) -> Counter[str]:
    """Writes the kept pairs. → how many by the reason, "" for those kept. Raises EditError where none is kept, and as `conversion.convert` does."""
    sources = [Path(filtering.source)]
    refuse_target(filtering.output, filtering.force, sources)
    score_all(pairs, scorers, store, filtering.retry)
    reasons = verdicts(pairs, stored(pairs, scorers, store), filtering.selection)
    counts = Counter(reasons)
    remember(store.folder, filtering, counts, reasons, stored(pairs, scorers, store))
    kept = [i for i, reason in enumerate(reasons) if not reason]
    if not kept:
        commonest = "".join(f": {count:,} {reason}" for reason, count in counts.most_common(1))
        raise EditError(f"No pair of {len(pairs):,} is kept{commonest}. Lower the thresholds, or find some by dataset calibrate.")
    write_as_named(with_scores(pairs, kept, stored(pairs, scorers, store)), filtering.output, filtering.force, sources)
    return counts


def with_scores(pairs: PairSet, kept: Sequence[int], scores: Iterator[Scores | str]) -> Iterator[dict[str, Any]]:
    """The kept rows as `PairSet.raw` gives them, with all their scores."""
    wanted = set(kept)
    of_kept = [found for i, found in enumerate(scores) if i in wanted]
    for n, row in whole_rows(pairs.select(kept)):
        yield row | {"scores": of_kept[n]}


def remember(folder: Path, filtering: Filtering, counts: Mapping[str, int], reasons: Sequence[str], scores: Iterator[Scores | str]) -> None:
    """What became of each pair, for `dataset status`; the file that says what was asked for comes last."""
    selection = filtering.selection
    scored = [{} if isinstance(found, str) else dict(found) for found in scores]
    names = sorted({name for one in scored for name in one})
    columns = {REASON: pa.array(reasons, pa.string())}
    columns |= {name: pa.array([one.get(name) for one in scored], pa.float64()) for name in names}
    with written_whole(folder / VERDICTS, force=True) as beside:
        pq.write_table(pa.table(columns), beside, row_group_size=GROUP)
    place = Path(filtering.source)
    content = {
        "pairs": os.path.relpath(place, folder) if place.exists() else str(filtering.source),
        "output": filtering.output.name,
        "at_least": dict(selection.thresholds.at_least),
        "most": selection.most,
        "by": selection.by,
        "counts": dict(counts),
    }
    with written_whole(folder / RUN, force=True) as beside:
        beside.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf8")
