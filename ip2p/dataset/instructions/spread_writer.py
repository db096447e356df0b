"""A language model in several processes or on several machines: the batches of `LocalWriter` answered by a runner, in their order."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import torch

from ...runners import Attempts, Report, Runner, TookItsProcess
from ...runners.stage import no_progress
from .local_writer import LocalWriter, Options, missing, problems, unfinished
from .triplets import Answer, Ask


@dataclass(frozen=True)
class AnswerAsks:
    """The stage. name: of the model, as `LocalWriter` takes it. attempts: at its batches. threads: of each process on the CPU, on whose
    number the roundings depend."""

    name: str
    options: Options
    attempts: Attempts
    threads: int

    def open(self, device: str | None) -> Answerer:
        """Raises EditError as `LocalWriter` does."""
        torch.set_num_threads(self.threads)
        return Answerer(LocalWriter(self.name, self.options, device), self.attempts)


@dataclass(frozen=True)
class Answerer:
    """A loaded model."""

    writer: LocalWriter
    attempts: Attempts

    def __call__(self, batch: Sequence[Ask], report: Report) -> list[Answer]:
        name = " ".join(ask.id for ask in batch)
        try:
            with self.attempts.of(name):
                return self.writer.answers_or_problems(batch)
        except TookItsProcess as e:
            self.attempts.forget([name])  # the next run asks again, as for every problem
            return problems(batch, str(e))


class SpreadWriter:
    """Writes what one `LocalWriter` would, byte for byte. model, version, prompt: as there."""

    def __init__(self, loaded: LocalWriter, stage: AnswerAsks, runner: Runner):
        """loaded: of the stage's model; is not kept."""
        self.model, self.version, self.prompt = loaded.model, loaded.version, loaded.prompt
        self.stage, self.runner, self.tokens = stage, runner, 0

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        """As `Writer.write`."""
        batches, units = tee(unfinished(asks, finished, self.stage.options.batch))
        for batch, answers in zip(batches, self.runner.run(self.stage, units, no_progress)):
            self.tokens += sum(answer.tokens[1] for answer in answers)
            yield from missing(batch, answers, finished)
        self.stage.attempts.close()

    def spent(self, read: int, written: int) -> None:
        self.tokens = written

    def note(self) -> str:
        return f"{self.tokens:,} tokens written"
