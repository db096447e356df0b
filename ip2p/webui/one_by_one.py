"""Finished pictures as the host's loop takes them, each made when its turn comes.

The host stacks a batch of decoded pictures into one tensor of floats and works on all of it. At the own size of a large photograph
that is half a gigabyte for every result of the batch, and a second of its time. What it does is the same for every pixel of one level,
so here it is done to the 256 levels, and each picture is looked up in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch
from einops import rearrange
from PIL import Image

from modules import processing

Make = Callable[[], Image.Image]
# In [-1, 1]. The host cuts the fraction off: half a level up, a pixel comes out as it went in.
LEVELS = (torch.arange(256, dtype=torch.float32) + 0.5) / 127.5 - 1


class OneByOne(processing.DecodedSamples):
    """A batch of pictures. makes: for every picture what gives it, RGB."""

    def __init__(self, makes: Sequence[Make]):
        super().__init__(Later(make) for make in makes)


class Later:
    """A picture that `torch.stack` takes for a tensor."""

    def __init__(self, make: Make):
        self.make = make

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.stack:
            raise NotImplementedError(f"{function.__name__} of a picture that is not made yet")
        return Stack([later.make for later in args[0]])


class Stack:
    """Pictures stacked later. levels: (256,), what the host has made so far of each level of theirs."""

    def __init__(self, makes: Sequence[Make], levels: torch.Tensor = LEVELS):
        self.makes, self.levels = makes, levels

    def float(self) -> Stack:
        return Stack(self.makes, self.levels.float())

    def __add__(self, number: float) -> Stack:
        return Stack(self.makes, self.levels + number)

    def __truediv__(self, number: float) -> Stack:
        return Stack(self.makes, self.levels / number)

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.clamp:
            raise NotImplementedError(f"{function.__name__} of pictures that are not made yet")
        stack, *limits = args
        return Stack(stack.makes, torch.clamp(stack.levels, *limits, **(kwargs or {})))

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Each picture, (3, h, w)."""
        for make in self.makes:
            pixels = cv2.LUT(np.asarray(make()), self.levels.numpy())
            yield rearrange(torch.from_numpy(pixels), "h w c -> c h w")
