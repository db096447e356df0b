"""Samples by their number: sample n of a stage is the same whenever and in whichever process it is asked for.

Which row, which crop and flip, which phrasing, whether text or image are dropped, and the noise: all of it follows from
(seed, stage, n). So a run that was killed repeats and skips nothing, and two processes see what one would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..dataset.licences import REFUSED, allowed, read_licences
from ..dataset.photos import photographs
from ..errors import EditError
from ..images import read_image
from ..pixels import to_tensor
from .config import Data, Stage

Sample = dict[str, torch.Tensor] | EditError  # an error travels as a value: see `Samples`

DECODED_BYTES = 1 << 30  # of pictures that stay decoded, over all workers


def generator_of(*numbers: int) -> np.random.Generator:
    """Seeded by all of the numbers."""
    return np.random.default_rng(numbers)


@lru_cache(maxsize=4)
def order_of(rows: int, seed: int, stage: int, epoch: int) -> np.ndarray:
    """(rows,): the rows in the order of this epoch."""
    return generator_of(seed, stage, 1, epoch).permutation(rows)


def crop_generator(seed: int, row: int, variant: int) -> np.random.Generator:
    """The same in every stage, so that they can share cached latents."""
    return generator_of(seed, 3, row, variant)


def row_of(n: int, rows: int, seed: int, stage: int) -> int:
    """Every row once an epoch, in an order of its own."""
    epoch, place = divmod(n, rows)
    return int(order_of(rows, seed, stage, epoch)[place])


@dataclass(frozen=True)
class Draw:
    """draw(row, generator of everything but the crop, variant of the crop) → the sample's tensors, for `rows` rows."""

    rows: int
    draw: Callable[[int, np.random.Generator, int], dict[str, torch.Tensor]]


class Samples(torch.utils.data.Dataset["Sample"]):
    """The samples of stage `number`, by their number."""

    def __init__(self, draw: Draw, stage: Stage, seed: int, number: int):
        self.draw, self.stage, self.seed, self.number = draw, stage, seed, number

    def place(self, n: int) -> tuple[int, int, np.random.Generator]:
        """→ row, variant of its crop and flip, generator of everything else."""
        rng = generator_of(self.seed, self.number, 2, n)
        variant = int(rng.integers(self.stage.variants)) if self.stage.variants else n
        return row_of(n, self.draw.rows, self.seed, self.number), variant, rng

    def __getitem__(self, n: int) -> Sample:
        """An error is returned: raised in a worker it would arrive with the worker's traceback in its sentence."""
        row, variant, rng = self.place(n)
        try:
            sample = self.draw.draw(row, rng, variant)
        except EditError as e:
            return e
        return {**sample, "seed": torch.tensor(int(rng.integers(2**62)))}


class Order(torch.utils.data.Sampler[list[int]]):
    """The sample numbers of one process, micro-batch by micro-batch, after `step` steps that took `samples` of all processes."""

    def __init__(self, stage: Stage, step: int, samples: int, process: int, processes: int):
        self.stage, self.step, self.samples, self.process, self.processes = stage, step, samples, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        size = self.stage.batch_size
        for turn in range(len(self)):
            first = self.samples + (turn * self.processes + self.process) * size
            yield list(range(first, first + size))

    def __len__(self) -> int:
        return (self.stage.steps - self.step) * self.stage.accumulate


def collate(samples: list[Sample]) -> Sample:
    """A batch, or what is wrong with one of its samples."""
    broken = next((sample for sample in samples if isinstance(sample, EditError)), None)
    return broken or torch.utils.data.default_collate(samples)


def crop(pictures: Sequence[Image.Image], stage: Stage, rng: np.random.Generator) -> list[torch.Tensor]:
    """One resizing, one crop and one flip for all of them → (3, size, size) in [-1, 1] each. The aspect is kept."""
    low, high = stage.resize or (stage.size, stage.size)
    shorter, x, y, flip = int(rng.integers(low, high + 1)), rng.random(), rng.random(), rng.random() < stage.flip
    width, height = pictures[0].size
    scale = shorter / min(width, height)
    width, height = max(round(width * scale), stage.size), max(round(height * scale), stage.size)
    x, y = round(x * (width - stage.size)), round(y * (height - stage.size))
    crops = []
    for picture in pictures:
        across, down = picture.width / width, picture.height / height
        box = (x * across, y * down, (x + stage.size) * across, (y + stage.size) * down)
        part = picture.resize((stage.size, stage.size), Image.Resampling.LANCZOS, box)
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else part
        crops.append(to_tensor(part.convert("RGB")).contiguous())
    return crops


class Folder:
    """The pictures of a folder, by name, chosen by their licences as `dataset photos` does; as many as fit `DECODED_BYTES` stay decoded."""

    def __init__(self, data: Data):
        """Raises EditError when no picture may be used."""
        folder = Path(data.pictures).expanduser()
        self.paths = [path for path in photographs(folder) if path.stem not in data.hold_out]
        if data.licences:
            licences = read_licences(Path(data.licences).expanduser())
            refuse = ",".join(name for name in REFUSED.split(",") if name not in data.allow)
            self.paths = [path for path in self.paths if allowed(licences.get(path.name, ""), ",".join(data.allow), refuse)]
        if not self.paths:
            raise EditError(f"data.pictures: {folder} has no picture that may be used: see data.allow and data.hold_out.")
        self.decoded: dict[int, Image.Image] = {}
        self.bytes_left = DECODED_BYTES // max(data.workers, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Image.Image:
        if i in self.decoded:
            return self.decoded[i]
        picture = read_image(self.paths[i], f"picture {self.paths[i]}")
        size = 3 * picture.width * picture.height
        if size <= self.bytes_left:
            self.decoded[i] = picture
            self.bytes_left -= size
        return picture


def dropped(stage: Stage, r: float) -> tuple[bool, bool]:
    """(text, image) for one uniform r in [0, 1): text alone, both, image alone, in that order (paper, 3.2.1 and its code)."""
    text = r < stage.drop_text + stage.drop_both
    image = stage.drop_text <= r < stage.drop_text + stage.drop_both + stage.drop_image
    return text, image


def seeded(seed: int) -> None:
    """Every generator a library may reach for."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (the one that libraries draw from)
    torch.manual_seed(seed)
