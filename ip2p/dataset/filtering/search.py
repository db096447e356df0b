"""The thresholds that keep the most right pairs while a wanted share of all that is kept is right."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

LEVELS = 40  # quantiles of a score that are tried as its threshold
ROUNDS = 20
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

    Coordinate ascent over a grid of quantiles, two criteria at a time, from open ones: the same for the same scores.
    """
    criteria = scores.shape[1]
    grids = [grid_of(scores[:, c]) for c in range(criteria)]
    passed = [scores[:, c] >= grids[c][:, None] for c in range(criteria)]  # (levels, pairs) each
    at = [0] * criteria
    for _ in range(ROUNDS):
        before = list(at)
        for a, b in combinations(range(criteria), 2) if criteria > 1 else [(0, 0)]:
            others = np.logical_and.reduce([passed[c][at[c]] for c in range(criteria) if c not in (a, b)], axis=0) if criteria > 2 else True
            kept = counted(passed[a], passed[b], weight * others)
            kept_right = counted(passed[a], passed[b], weight * right * others)
            worth = worth_of(kept, kept_right, float(weight.sum()), wanted)
            i, j = np.unravel_index(int(worth.argmax()), worth.shape)
            if worth[i, j] > worth[at[a], at[b]] + 1e-12:
                at[a], at[b] = int(i), int(j)
        if at == before:
            break
    return np.array([grid[i] for grid, i in zip(grids, at)])


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


def worth_of(kept: np.ndarray, kept_right: np.ndarray, total: float, wanted: float) -> np.ndarray:
    """Above 1 where the wanted share is reached, by how many right ones are kept, and of equals by the share; below it the share."""
    share = kept_right / np.maximum(kept, 1e-12)
    return np.where(kept < FEWEST * total, -1.0, np.where(share >= wanted, 1 + kept_right / total + TIE * share, share))
