"""Thresholds calibrated on pairs whose truth is known: chosen on one half of them, and measured on the other."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import EditError
from ...progress import bar
from ...scorers.pair_scorer import PairScorer, Scores
from ..pairs import BrokenRow, Pair, PairSet
from .score_store import identity
from .scoring import AT_ONCE, scored, together
from .search import Kept, best_thresholds, measured, reaching
from .thresholds import Thresholds
from .wrong_pairs import RIGHT, Made, made_of

TRUTH = "right"  # a score of 1 or 0 that says whether a pair is right
WRONG = "wrong"
ALL = "all"


@dataclass(frozen=True)
class Asked:
    """right: the wanted share of right ones among those kept. before: the share of right ones that is expected before the filter, where
    wrong ones are made. count: rows that are looked at, drawn by chance. seed: of everything drawn."""

    right: float
    before: float
    count: int
    seed: int


@dataclass(frozen=True)
class Known:
    """Scored pairs whose truth is known. scores: (pairs, names), −∞ where there is none; kinds: RIGHT or what is wrong; weight, held_out: (pairs,)."""

    names: tuple[str, ...]
    scores: np.ndarray
    kinds: np.ndarray
    weight: np.ndarray
    held_out: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.kinds == RIGHT


@dataclass(frozen=True)
class Measured:
    """What the thresholds of some scores keep of the half that they were not chosen on. passed: of each kind the share."""

    at_least: Mapping[str, float]
    kept: Kept
    passed: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """by: what each scorer's thresholds keep alone, by its name, and ALL's together. counts: of held-out pairs, by kind; unscored: of all."""

    before: float
    by: Mapping[str, Measured]
    counts: Mapping[str, int]
    unscored: int

    @property
    def together(self) -> Measured:
        return self.by[ALL]

    def thresholds(self, scorers: Sequence[PairScorer], asked: Asked, pairs: str) -> Thresholds:
        found = self.together
        scored_by = {name: identity(scorer) for scorer in scorers for name in scorer.scores if name in found.at_least}
        figures = {
            "right_before": self.before,
            "right_after": found.kept.right,
            "kept": found.kept.kept,
            "kept_of_right": found.kept.of_right,
        }
        said: dict[str, Any] = {"on": pairs, "wanted_right": asked.right} | {name: round(value, 4) for name, value in figures.items()}
        return Thresholds(found.at_least, scored_by, said)


def calibrated(pairs: PairSet, scorers: Sequence[PairScorer], asked: Asked) -> Calibration:
    """Raises EditError where one half has no right or no wrong pairs, and as a scorer does."""
    known, unscored = scored_pairs(pairs, scorers, asked)
    for half in (known.held_out, ~known.held_out):
        if not (half & known.right).any() or not (half & ~known.right).any():
            raise EditError(f"{pairs.name} has too few pairs for thresholds: both halves need right and wrong ones that can be scored.")
    held_out = known.held_out
    by = {ALL: chosen(known, known.names, asked.right)}
    if len(scorers) > 1:
        by = {scorer.name: chosen(known, scorer.scores, asked.right) for scorer in scorers} | by
    before = measured(np.ones(int(held_out.sum()), bool), known.right[held_out], known.weight[held_out]).right
    return Calibration(before, by, Counter(known.kinds[held_out].tolist()), unscored)


def chosen(known: Known, names: Sequence[str], wanted: float) -> Measured:
    columns = [known.names.index(name) for name in names]
    scores, fit, rest = known.scores[:, columns], ~known.held_out, known.held_out
    thresholds = best_thresholds(scores[fit], known.right[fit], known.weight[fit], wanted)
    keep = reaching(scores[rest], thresholds)
    kinds = known.kinds[rest]
    at_least = {name: float(value) for name, value in zip(names, thresholds) if np.isfinite(value)}
    passed = {str(kind): float(keep[kinds == kind].mean()) for kind in sorted(set(kinds.tolist()), key=lambda kind: (kind != RIGHT, kind))}
    return Measured(at_least, measured(keep, known.right[rest], known.weight[rest]), passed)


def scored_pairs(pairs: PairSet, scorers: Sequence[PairScorer], asked: Asked) -> tuple[Known, int]:
    """And how many could not be scored."""
    names = tuple(name for scorer in scorers for name in scorer.scores)
    told = has_truth(pairs)
    source = known_truths(pairs, asked) if told else wrong_ones_made(pairs, asked)
    shown = bar(0, "pair")
    rows: list[tuple[Scores, str, bool]] = []
    unscored = 0
    try:
        while some := list(itertools.islice(source, AT_ONCE)):
            by_scorer = [scored(scorer, [made.pair for made, _ in some]) for scorer in scorers]
            for n, (made, held_out) in enumerate(some):
                found = together({}, [each[n] for each in by_scorer])
                if isinstance(found, str):
                    unscored += 1
                else:
                    rows.append((found, made.kind, held_out))
            shown.update(len(some))
    finally:
        shown.close()
    if not rows:
        raise EditError(f"Not one pair of {pairs.name} can be scored.")
    scores = np.array([[found.get(name, -np.inf) for name in names] for found, _, _ in rows])
    kinds, halves = np.array([kind for _, kind, _ in rows]), np.array([half for _, _, half in rows])
    weight = np.ones(len(rows)) if told else weights_of(kinds, halves, asked.before)
    return Known(names, scores, kinds, weight, halves), unscored


def has_truth(pairs: PairSet) -> bool:
    """Whether pairs say by a score which of them are right and which are not."""
    return {pairs.texts(i)["scores"].get(TRUTH) for i in range(len(pairs))} >= {0, 1}


def known_truths(pairs: PairSet, asked: Asked) -> Iterator[tuple[Made, bool]]:
    for i, pair, held_out in drawn(pairs, asked):
        truth = pairs.texts(i)["scores"].get(TRUTH)
        if truth in (0, 1):
            yield Made(pair, RIGHT if truth else WRONG), held_out


def wrong_ones_made(pairs: PairSet, asked: Asked) -> Iterator[tuple[Made, bool]]:
    """All are taken for right ones, and wrong ones are made of them within each half."""
    halves: dict[bool, list[Pair]] = {False: [], True: []}
    for _, pair, held_out in drawn(pairs, asked):
        halves[held_out].append(pair)
    for held_out, half in halves.items():
        for n in range(len(half)):
            yield from ((made, held_out) for made in made_of(half, n, asked.seed))


def drawn(pairs: PairSet, asked: Asked) -> Iterator[tuple[int, Pair, bool]]:
    """Rows drawn by chance, each with its number and whether it is held out; broken ones are passed over. What belongs together, as the
    samples of a row and the edits of a photograph, is in one half."""
    rows = np.random.default_rng(asked.seed).permutation(len(pairs))[: asked.count].tolist()
    groups = {row: group_of(pairs.texts(row), row) for row in rows}
    order = sorted(set(groups.values()), key=lambda group: hashlib.sha256(f"{asked.seed} {group}".encode()).digest())
    half = {group: n % 2 == 1 for n, group in enumerate(order)}
    for n, row in enumerate(rows):
        try:
            yield row, pairs[row], half[groups[row]] if len(order) > 1 else n % 2 == 1
        except BrokenRow:
            continue


def group_of(texts: Mapping[str, Any], row: int) -> str:
    return str(next((texts[name] for name in ("photo", "id") if name in texts), row))


def weights_of(kinds: np.ndarray, held_out: np.ndarray, before: float) -> np.ndarray:
    """In each half right ones weigh `before` of all, and every kind of wrong ones an equal part of the rest."""
    weight = np.zeros(len(kinds))
    for half in (held_out, ~held_out):
        present = sorted(set(kinds[half].tolist()))
        for kind in present:
            these = half & (kinds == kind)
            share = before if kind == RIGHT else (1 - before) / max(len(present) - 1, 1)
            weight[these] = share / these.sum()
    return weight
