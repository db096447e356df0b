"""A progress bar with the time left: tqdm where it is installed, else a plain line. On stderr."""

from __future__ import annotations

import sys
import time


def bar(total: int, unit: str, scale: bool = False, done: int = 0):
    """A bar to `update(n)` and `close()`. scale: units are counted in thousands and millions, as bytes are. done: before it starts."""
    try:
        from tqdm import tqdm
    except ImportError:
        return Plain(total, unit, done)
    return tqdm(total=total or None, initial=done, unit=unit, unit_scale=scale, file=sys.stderr, leave=False, mininterval=0.5)


class Plain:
    """A line that is written over, at most every half second, and not at all where stderr is no terminal."""

    def __init__(self, total: int, unit: str, done: int = 0):
        self.total, self.unit, self.done, self.before = total, unit, done, done
        self.start, self.shown = time.monotonic(), 0.0

    def update(self, n: int = 1) -> None:
        self.done += n
        now = time.monotonic()
        if sys.stderr.isatty() and (now - self.shown > 0.5 or self.done >= self.total):
            self.shown = now
            print(f"\r{self.line(now - self.start)}\x1b[K", end="", file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """“3/10 picture, 0:14 left”."""
        if not self.total:
            return f"{self.done} {self.unit}"
        left = round(seconds * (self.total - self.done) / (self.done - self.before)) if self.done > self.before else 0
        return f"{self.done}/{self.total} {self.unit}, {left // 60}:{left % 60:02} left"

    def close(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    @staticmethod
    def write(text: str, file=None) -> None:
        print(text, file=file or sys.stderr)
