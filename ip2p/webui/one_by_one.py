"""Finished pictures as the host's loop takes them, each made when its turn comes.

The host stacks a batch of decoded pictures into one tensor of floats and works on all of it. At the own size of a large photograph
that is half a gigabyte for every result of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from modules import processing

Make = Callable[[], torch.Tensor]


class OneByOne(processing.DecodedSamples):
    """A batch of pictures. makes: for every picture what gives it, (3, h, w) in [-1, 1]."""

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
    """Pictures stacked later: what the host does to the stack is done to each when it is taken out."""

    def __init__(self, makes: Sequence[Make], steps: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = ()):
        self.makes, self.steps = makes, steps

    def then(self, step: Callable[[torch.Tensor], torch.Tensor]) -> Stack:
        return Stack(self.makes, (*self.steps, step))

    def float(self) -> Stack:
        return self.then(torch.Tensor.float)

    def __add__(self, number: float) -> Stack:
        return self.then(lambda picture: picture.add_(number))

    def __truediv__(self, number: float) -> Stack:
        return self.then(lambda picture: picture.div_(number))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.clamp:
            raise NotImplementedError(f"{function.__name__} of pictures that are not made yet")
        stack, *limits = args
        return stack.then(lambda picture: picture.clamp_(*limits, **(kwargs or {})))

    def __iter__(self) -> Iterator[torch.Tensor]:
        for make in self.makes:
            picture = make()
            for step in self.steps:
                picture = step(picture)
            yield picture
