"""Which pairs are kept: those that reach every threshold, and of each row the best ones."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...scorers.pair_scorer import Scores
from ..pairs import PairSet
from .thresholds import Thresholds

MOST = 4  # Brooks et al., 3.1.2
UNSCORED = "could not be scored: "


@dataclass(frozen=True)
class Selection:
    """most: pairs kept of a row, None for all; by: the score of which the highest are kept."""

    thresholds: Thresholds
    most: int | None = MOST
    by: str = "clip_sim_dir"

    def of_a_row(self) -> str:
        return f"not among the {self.most} of its row with the highest {self.by}"


def verdicts(pairs: PairSet, scores: Iterable[Scores | str], selection: Selection) -> list[str]:
    """Of each pair "" where it is kept, else the reason. scores: of each pair, or why it can't be scored."""
    reasons: list[str] = []
    best: dict[object, list[tuple[float, int]]] = {}  # of each row a heap of its kept pairs, the worst first; of equal ones the later
    for i, found in enumerate(scores):
        reason = f"{UNSCORED}{found}" if isinstance(found, str) else selection.thresholds.failing(found)
        if not reason and not isinstance(found, str) and selection.most is not None and (key := row_of_pair(pairs.texts(i))) is not None:
            reason = "" if selection.by in found else f"has no {selection.by}"
            if not reason:
                heap = best.setdefault(key, [])
                heapq.heappush(heap, (found[selection.by], -i))
                if len(heap) > selection.most:
                    beaten = -heapq.heappop(heap)[1]
                    if beaten == i:
                        reason = selection.of_a_row()
                    else:
                        reasons[beaten] = selection.of_a_row()
        reasons.append(reason)
    return reasons


def row_of_pair(texts: Mapping[str, Any]) -> object | None:
    """What the pairs of one row of instructions share; None in a set whose pairs have no rows in common. texts: as `PairSet.texts` gives them."""
    if "id" in texts and "sample" in texts:
        return texts["id"]
    captions = texts["original_prompt"], texts["edited_prompt"]
    return (*captions, *texts["edit_prompts"]) if all(captions) else None
