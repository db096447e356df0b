"""What is looked at while pairs are drawn: those that the model's safety checker flags are left out, and a row ends once enough are good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import EditError
from ...runners import EndsTheRun
from ...scorers.by_name import device_named, pair_scorer_named
from ...scorers.judge import Judging
from ...scorers.pair_scorer import PairScorer
from ..filtering.scoring import scored, together
from ..filtering.thresholds import Thresholds
from ..pairs import AFTER, BEFORE, Pair, decoded
from .safety import SafetyChecker

STOPPED = "stop_after"  # a column: after how many good samples the pair's row ended


@dataclass(frozen=True)
class StopAfter:
    """good: samples after which a row ends. scorers: names, as `pair_scorer_named` takes them with judging."""

    good: int
    scorers: tuple[str, ...]
    judging: Judging
    thresholds: Thresholds


@dataclass(frozen=True)
class Inspection:
    """Can be sent to other processes. safety: the model whose checker looks at the pictures."""

    stop: StopAfter | None = None
    safety: str | None = None

    def open(self, device: str | None) -> Inspector:
        """Raises EditError where the checker or a scorer can't be read."""
        checker = SafetyChecker(self.safety, device_named(device)) if self.safety else None
        named = [pair_scorer_named(name, device_named(device), self.stop.judging) for name in self.stop.scorers] if self.stop else []
        return Inspector(self.stop, checker, [scorer for scorer in named if scorer is not None])


@dataclass
class Inspector:
    stop: StopAfter | None
    checker: SafetyChecker | None
    scorers: Sequence[PairScorer]

    def of_row(self) -> RowInspector:
        return RowInspector(self)


@dataclass
class RowInspector:
    """Of one row. good: samples so far; flagged: pairs that were left out."""

    by: Inspector
    good: int = 0
    flagged: int = 0

    @property
    def has_enough(self) -> bool:
        return self.by.stop is not None and self.good >= self.by.stop.good

    def looked_at(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """rows: of pairs drawn together, as `PairSet.raw` gives them → those that are not flagged, with their scores. Raises
        EndsTheRun as a scorer fails for all."""
        if self.by.checker is None and self.by.stop is None:
            return [dict(row) for row in rows]
        pairs = [pair_of(row) for row in rows]
        safe = self.safe(pairs)
        self.flagged += len(rows) - len(safe)
        return self.with_scores([dict(rows[n]) for n in safe], [pairs[n] for n in safe])

    def safe(self, pairs: Sequence[Pair]) -> list[int]:
        """The numbers of the pairs of which neither picture is flagged."""
        if self.by.checker is None:
            return list(range(len(pairs)))
        flags = self.by.checker.flagged([picture for pair in pairs for picture in (pair.original_image, pair.edited_image)])
        return [n for n in range(len(pairs)) if not flags[2 * n] and not flags[2 * n + 1]]

    def with_scores(self, rows: list[dict[str, Any]], pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        """One that can't be scored is no good one."""
        if self.by.stop is None:
            return rows
        try:
            by_scorer = [scored(scorer, pairs) for scorer in self.by.scorers]
        except EditError as e:  # it would fail for every row
            raise EndsTheRun(str(e)) from e
        for n, row in enumerate(rows):
            found = together(row["scores"], [each[n] for each in by_scorer])
            if not isinstance(found, str):
                row["scores"] = found
                self.good += not self.by.stop.thresholds.failing(found)
            row["extra"] = {**row["extra"], STOPPED: self.by.stop.good}
        return rows


def pair_of(row: Mapping[str, Any]) -> Pair:
    """The pair with its pictures as they will be read again."""
    names = ("edit_prompts", "original_prompt", "edited_prompt", "scores", "extra")
    pictures = decoded(row["original_image"], BEFORE), decoded(row["edited_image"], AFTER)
    return replace(Pair(*pictures, row["edit_prompts"]), **{name: row[name] for name in names})
