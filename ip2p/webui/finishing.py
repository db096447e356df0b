"""Finishing a result within the host's job: progress, interruption, what is kept to finish it otherwise later, and the grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image

from modules import processing, shared

from ..edit import FULL, OWN_SIZE, Edit
from ..images import bytes_of, png_level
from ..result import finished

OnRows = Callable[[int, int], None]  # what `detail.transfer` reports to


class Stopped(Exception):
    """The job was interrupted or skipped while a result was brought to full size."""


@dataclass(frozen=True)
class Made:
    """What the network made of one result, of which it can be finished in any way without another edit.

    levels, decoded: (h, w, 3) in [0, 255], the result and its picture through the autoencoder alone; picture, mask: as the network was
    given them.
    """

    edit: Edit
    levels: np.ndarray
    decoded: np.ndarray
    picture: Image.Image
    mask: Image.Image | None

    def finished(self, result: str, detail: float, on_rows: OnRows | None = None) -> Image.Image:
        """As `result.finished`, with another `Edit.result` and `Edit.detail`, of the same part of the photograph."""
        edit = replace(self.edit, result=result, detail=detail, crop=self.edit.cropped)
        return finished(edit, self.levels, self.picture, self.mask, lambda: self.decoded, on_rows)

    @property
    def parts(self) -> Iterator[tuple[int, int]]:
        """(identity, bytes) of everything it holds; results of one job share some."""
        yield from bytes_of(self.edit.image, self.edit.mask, self.picture, self.mask)
        for levels in (self.levels, self.decoded):
            yield id(levels), levels.nbytes


def is_stopped() -> bool:
    return shared.state.interrupted or shared.state.skipped


def finished_in_job(
    edit: Edit, levels: np.ndarray, picture: Image.Image, mask: Image.Image | None, decoded: Callable[[], np.ndarray]
) -> tuple[Image.Image, bool]:
    """As `result.finished`, with its progress on the page → the picture, and whether it is of the kind that was asked for.

    A job that is interrupted or skipped ends soon: its full result is given enlarged.
    """
    if edit.result != FULL or not edit.detail:
        return finished(edit, levels, picture, mask, decoded), True
    return full_or_enlarged(
        lambda report: finished(edit, levels, picture, mask, decoded, report),
        lambda: finished(replace(edit, result=OWN_SIZE), levels, picture, mask, decoded),
    )


def full_or_enlarged(full: Callable[[OnRows], Image.Image], enlarged: Callable[[], Image.Image]) -> tuple[Image.Image, bool]:
    """What `full` makes, which is given what reports its progress, or where the job is stopped what `enlarged` makes; whether it is the first."""

    def report(done: int, rows: int) -> None:
        if is_stopped():
            raise Stopped
        shared.state.textinfo = f"Full size: {100 * done // rows}%"

    try:
        report(0, 1)
        return full(report), True
    except Stopped:
        return enlarged(), False
    finally:
        shared.state.textinfo = None


@contextmanager
def small_grid(size: tuple[int, int]):
    """Within the block the host makes a grid of pictures that are at most of this size."""
    stock = processing.images.image_grid

    def image_grid(imgs: Iterable[Image.Image], *args, **kwargs):
        return stock([at_most(image, size) for image in imgs], *args, **kwargs)

    processing.images.image_grid = image_grid
    try:
        yield
    finally:
        processing.images.image_grid = stock


@contextmanager
def quick_files():
    """Within the block the host's job packs the PNG of large pictures in a quarter of the time (`images.png_level`)."""
    stock = processing.images.save_image

    def save_image(image: Image.Image, *args, **kwargs):
        with packed_quickly(image):
            return stock(image, *args, **kwargs)

    processing.images.save_image = save_image
    try:
        yield
    finally:
        processing.images.save_image = stock


@contextmanager
def packed_quickly(image: Image.Image):
    """Within the block the picture is saved so by whoever names no level; other kinds of files have none."""
    vars(image)["save"] = partial(image.save, compress_level=png_level(image))
    try:
        yield
    finally:
        del vars(image)["save"]


def at_most(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture, or a smaller one within this size."""
    if image.width <= size[0] and image.height <= size[1]:
        return image
    small = image.copy()
    small.thumbnail(size, Image.Resampling.LANCZOS)
    return small
