"""A progress bar with the time left, on stderr."""

from __future__ import annotations

import sys
from collections import Counter

from tqdm import tqdm


def bar(total: int, unit: str, scale: bool = False, done: int = 0) -> tqdm:
    """A bar to `update(n)` and `close()`. total: 0 when unknown; scale: units are counted in thousands and millions, as bytes are;
    done: before it starts."""
    return tqdm(total=total or None, initial=done, unit=unit, unit_scale=scale, file=sys.stderr, leave=False, mininterval=0.5)


class PartsBar:
    """A bar over the parts of a work, which are worked on in any order and some of them twice."""

    def __init__(self, shown: tqdm):
        self.shown, self.done = shown, Counter[int]()

    def report(self, part: int, done: int, total: int, doing: str = "") -> None:
        """done: of the part, in the bar's unit; less than before where it is begun anew."""
        self.shown.update(done - self.done[part])
        self.done[part] = done
