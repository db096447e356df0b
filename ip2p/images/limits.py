"""What a picture may cost: checked from its header, before it is decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import EditError

MAX_PIXELS = 64_000_000
MAX_FILE = 2**30  # bytes
PIXEL, ROW = 4, 24  # bytes: Pillow's widest pixel, and what it keeps of every row besides
MAX_DECODED = PIXEL * MAX_PIXELS + ROW * 2**21  # a column one pixel wide and millions high costs its rows, not its pixels
MAX_SAMPLES = 8 * MAX_PIXELS  # bytes of a TIFF's samples as they are stored
MAX_SCANS = 20  # of a JPEG of 64 megapixels; a smaller one may have more in the same time. Cameras and browsers write about ten

_DECODING = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """max_side: in pixels; max_aspect: longer side over shorter; refused: kinds of files (`kinds.kind_of`); one_at_a_time: no
    two pictures are decoded at once."""

    max_side: int | None = None
    max_aspect: int | None = None
    refused: tuple[str, ...] = ()
    one_at_a_time: bool = False

    def check_kind(self, kind: str, what: str) -> None:
        if kind in self.refused:
            raise EditError(f"The {what} is a {kind} file, which is not taken over HTTP: send it as PNG, JPEG or WebP.")

    def check_size(self, width: int, height: int, what: str = "picture") -> None:
        """Raises EditError for a picture of more than 64 megapixels, of too many rows, or beyond these limits."""
        size = f"The {what} is {width}x{height}"
        if width * height > MAX_PIXELS:
            raise EditError(f"{size}: at most 64 megapixels can be edited, make it smaller first.")
        if height * (PIXEL * width + ROW) > MAX_DECODED:
            raise EditError(f"{size}, too long and thin to be edited: cut it first.")
        if self.max_side and max(width, height) > self.max_side:
            raise EditError(f"{size}: over HTTP a side has at most {self.max_side} pixels.")
        if self.max_aspect and max(width, height) > self.max_aspect * min(width, height):
            raise EditError(f"{size}: over HTTP the longer side is at most {self.max_aspect} times the shorter one.")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within the block no other picture is decoded under such limits."""
        if not self.one_at_a_time:
            yield
            return
        with _DECODING:
            yield


HERE = Limits()  # files of the person at this machine
# What strangers send. OpenJPEG takes seconds for a JPEG 2000 of a kilobyte.
HTTP = Limits(max_side=16_384, max_aspect=64, refused=("JPEG 2000",), one_at_a_time=True)
