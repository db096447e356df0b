"""What a stage of work is, and what runs it: a description that any process can open, then a call for each unit of the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ..errors import EditError
from ..files import why

Unit = TypeVar("Unit")
Result = TypeVar("Result")
Given_contra = TypeVar("Given_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)

# What a worker calls while it works on a unit: how much of it is done, of how much, and what it is doing, "" where that is plain.
Report = Callable[[int, int, str], object]
# What a runner calls of it: the unit's place among all, counted from 0, then as above. Less than before where a unit begins anew.
Progress = Callable[[int, int, int, str], object]


class EndsTheRun(EditError):
    """What no other unit would be spared: a full disk, too little memory for the batch. It is no fault of the unit."""


class EndsTheProcess(EditError):
    """What every unit after it in this process would meet too. Another process begins the unit again, and it counts as having taken its
    process with it."""


@contextmanager
def on_device() -> Iterator[None]:
    """For a block that computes: raises EndsTheProcess for a fault of the device, after which a process can't use it any more."""
    try:
        yield
    except RuntimeError as e:
        if "CUDA error" not in str(e):
            raise
        raise EndsTheProcess(f"The device has failed: {why(e)}. With --runner local another process goes on.") from e


class Worker(Protocol[Given_contra, Made_co]):
    """An opened stage."""

    def __call__(self, unit: Given_contra, report: Report, /) -> Made_co:
        """What is wrong with the unit itself is part of its result. Raises EditError for what ends the run,
        and EndsTheProcess."""


class Stage(Protocol[Given_contra, Made_co]):
    """A description of the work, small and picklable, as its units and their results are."""

    def open(self, device: str | None) -> Worker[Given_contra, Made_co]:
        """Loads what the work needs. device: as torch names it; None: CUDA where there is one. Raises EditError."""


class Runner(Protocol):
    """Where the work is done."""

    def run(self, stage: Stage[Unit, Result], units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """The results in the order of the units, whoever works on them. A unit whose process has ended is begun again, in another one:
        what it leaves behind has to be the same when it is begun twice. Nothing is opened where there are no units.

        Raises EditError where a worker does, or where no process can be kept running."""


def no_progress(unit: int, done: int, total: int, doing: str) -> None:
    """A `Progress` that nobody sees."""
