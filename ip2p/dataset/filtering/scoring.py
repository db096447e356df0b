"""All pairs of a set scored, part by part: what is scored already is not scored again, and what can't be scored has its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from ...editor import OUT_OF_MEMORY
from ...errors import EditError
from ...files import why
from ...progress import bar
from ...scorers.pair_scorer import Judged, PairScorer, Scores
from ..pairs import BrokenRow, Pair, PairSet
from .score_store import Part, ScoreStore, parts_of

AT_ONCE = 32  # pairs in memory


def score_all(pairs: PairSet, scorers: Sequence[PairScorer], store: ScoreStore, retry: bool = False) -> None:
    """retry: pairs that could not be scored are tried again. Raises EditError for what would fail for every pair; what is stored stays."""
    shown = bar(len(pairs), "pair")
    try:
        for part in parts_of(pairs):
            left = {scorer: store.read(part, scorer) for scorer in scorers}
            left = {
                scorer: found for scorer, found in left.items() if found is None or (retry and any(isinstance(one, str) for one in found))
            }
            if left:
                score_part(pairs, part, left, store)
            shown.update(len(part.rows))
    finally:
        shown.close()


def score_part(pairs: PairSet, part: Part, left: dict[PairScorer, list[Scores | str] | None], store: ScoreStore) -> None:
    """left: the scorers, and what of the part each of them has scored before."""
    results = {scorer: list(found or [""] * len(part.rows)) for scorer, found in left.items()}
    for start in range(0, len(part.rows), AT_ONCE):
        places = range(start, min(start + AT_ONCE, len(part.rows)))
        read = {n: pair_or_reason(pairs, part.rows[n]) for n in places if any(isinstance(found[n], str) for found in results.values())}
        for scorer, found in results.items():
            asked = [n for n in places if isinstance(found[n], str)]
            for n, one in zip(asked, scored(scorer, [read[n] for n in asked])):
                found[n] = one
    for scorer, found in results.items():
        store.write(part, scorer, found)


def pair_or_reason(pairs: PairSet, row: int) -> Pair | str:
    try:
        return pairs[row]
    except BrokenRow as e:
        return str(e.__cause__ or e)


def scored(scorer: PairScorer, pairs: Sequence[Judged | str]) -> list[Scores | str]:
    """Of each its scores, or why it has none; a text in a pair's place is the reason already. Raises EditError as the scorer does."""
    whole = [pair for pair in pairs if not isinstance(pair, str)]
    try:
        found = iter(scorer.score(whole) if whole else [])
    except EditError:
        raise
    except torch.OutOfMemoryError as e:
        raise EditError(f"{OUT_OF_MEMORY.partition(':')[0]}: score on another device, --device cpu.") from e
    except Exception:  # one pair must not end the run, whatever a network makes of it
        found = (score_alone(scorer, pair) for pair in whole)
    return [pair if isinstance(pair, str) else checked(next(found)) for pair in pairs]


def score_alone(scorer: PairScorer, pair: Judged) -> Scores | str:
    try:
        return scorer.score([pair])[0]
    except Exception as e:
        return f"{scorer.name} failed: {why(e)}"


def checked(found: Scores | str) -> Scores | str:
    if isinstance(found, str):
        return found
    odd = [name for name, value in found.items() if not math.isfinite(value)]
    return f"its {odd[0]} is not a number" if odd else found


def stored(pairs: PairSet, scorers: Sequence[PairScorer], store: ScoreStore) -> Iterator[Scores | str]:
    """Of each pair, in their order, all its scores, the set's own among them, or why it can't be scored. Raises EditError where a part
    is not scored."""
    for part in parts_of(pairs):
        by_scorer = [store.read(part, scorer) for scorer in scorers]
        if any(found is None for found in by_scorer):
            raise EditError(f"{pairs.name} has changed while it was scored: the same command goes on.")
        for n, row in enumerate(part.rows):
            yield together(pairs.texts(row)["scores"], [found[n] for found in by_scorer if found is not None])


def together(own: Scores, found: Iterable[Scores | str]) -> Scores | str:
    scores = dict(own)
    for one in found:
        if isinstance(one, str):
            return one
        scores |= one
    return scores
