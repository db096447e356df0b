"""A progress bar with the time left, on stderr."""

from __future__ import annotations

import sys

from tqdm import tqdm


def bar(total: int, unit: str, scale: bool = False, done: int = 0) -> tqdm:
    """A bar to `update(n)` and `close()`. total: 0 when unknown; scale: units are counted in thousands and millions, as bytes are;
    done: before it starts."""
    return tqdm(total=total or None, initial=done, unit=unit, unit_scale=scale, file=sys.stderr, leave=False, mininterval=0.5)
