"""The thresholds that keep the most right pairs while a wanted share of all that is kept is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

LEVELS = 40  # quantiles of a score that are tried as its threshold
ROUNDS = 20
PRICES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # of a wrong pair, in right ones
FEWEST = 0.02  # share of all that is kept at least, of which a share of right ones says something
DIGITS = 4  # of a threshold
TIE = 1e-3  # of the share: less than what a few right pairs more are worth


@dataclass(frozen=True)
class Kept:
    """Shares: of right ones among those kept, of all that is kept, of right ones that are kept; each pair counts by its weight."""

    right: float
    kept: float
    of_right: float


def measured(keep: np.ndarray, right: np.ndarray, weight: np.ndarray) -> Kept:
    """keep, right: (pairs,), whether it is; weight: (pairs,)."""
    kept, kept_right = float(weight[keep].sum()), float(weight[keep & right].sum())
    return Kept(kept_right / kept if kept else 0.0, kept / float(weight.sum()), kept_right / float(weight[right].sum()))


def reaching(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """scores: (pairs, criteria), −∞ where there is none; thresholds: (criteria,), −∞ for an open one → (pairs,), whether each is reached."""
    return np.all(scores >= thresholds, axis=1)


def best_thresholds(scores: np.ndarray, right: np.ndarray, weight: np.ndarray, wanted: float) -> np.ndarray:
    """→ (criteria,), −∞ for one that is of no use. Where the wanted share of right ones can't be had, the highest that can.

    Coordinate ascent over grids of quantiles, two criteria at a time, from open ones: first for what right pairs are worth less what wrong
    ones cost, at several prices, then from the best of these for what is wanted itself. The same for the same scores.
    """
    grids = [grid_of(column) for column in scores.T]
    search = Search([column >= grid[:, None] for column, grid in zip(scores.T, grids)], weight * right, weight * ~right)
    total = float(weight.sum())
    value = partial(worth_of, total=total, wanted=wanted)
    opened = [0] * len(grids)
    starts = [opened, *(search.ascended(opened, partial(less_cost, total=total, price=price)) for price in PRICES)]
    at = search.ascended(max(starts, key=lambda start: float(value(*search.kept(start)))), value)
    return np.array([grid[i] for grid, i in zip(grids, at)])


Value = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of the weights of right and of wrong pairs that are kept


@dataclass(frozen=True)
class Search:
    """passed: of each criterion (levels, pairs), whether a pair reaches it; right, wrong: (pairs,), the weight of one, 0 of the other."""

    passed: list[np.ndarray]
    right: np.ndarray
    wrong: np.ndarray

    def kept(self, at: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """at: a level of each criterion."""
        keep = np.logical_and.reduce([passed[i] for passed, i in zip(self.passed, at)], axis=0)
        return np.asarray(self.right @ keep), np.asarray(self.wrong @ keep)

    def ascended(self, at: Sequence[int], value: Value) -> list[int]:
        """From these levels to ones at which no two criteria together can be set better."""
        at, criteria = list(at), range(len(self.passed))
        for _ in range(ROUNDS):
            before = list(at)
            for a, b in list(combinations(criteria, 2)) or [(0, 0)]:
                others = [self.passed[c][at[c]] for c in criteria if c not in (a, b)]
                rest = np.logical_and.reduce(others, axis=0) if others else 1.0
                found = value(*(counted(self.passed[a], self.passed[b], weight * rest) for weight in (self.right, self.wrong)))
                i, j = np.unravel_index(int(found.argmax()), found.shape)
                if found[i, j] > found[at[a], at[b]] + 1e-12:
                    at[a], at[b] = int(i), int(j)
            if at == before:
                break
        return at


def grid_of(values: np.ndarray) -> np.ndarray:
    """−∞, then thresholds in rising order, each in the middle between two quantiles: as far from what passes as from what does not."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.array([-np.inf])
    quantiles = np.unique(np.quantile(known, np.linspace(0, 1, LEVELS + 1)))
    return np.concatenate([[-np.inf], np.unique(np.floor((quantiles[1:] + quantiles[:-1]) / 2 * 10**DIGITS) / 10**DIGITS)])


def counted(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """a, b: (levels, pairs) → (levels, levels), the weight of pairs that pass both."""
    return (a * weight).astype(np.float64) @ b.T.astype(np.float64)


def worth_of(right: np.ndarray, wrong: np.ndarray, total: float, wanted: float) -> np.ndarray:
    """Above 1 where the wanted share is reached, by how many right ones are kept, and of equals by the share; below it the share."""
    kept = right + wrong
    share = right / np.maximum(kept, 1e-12)
    return np.where(kept < FEWEST * total, -1.0, np.where(share >= wanted, 1 + right / total + TIE * share, share))


def less_cost(right: np.ndarray, wrong: np.ndarray, total: float, price: float) -> np.ndarray:
    """What right ones are worth less what wrong ones cost."""
    return (right - price * wrong) / total
