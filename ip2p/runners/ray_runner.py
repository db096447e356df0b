"""A pool of Ray Data's actors, on a cluster that runs already or on one started here for the time of the run."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from ..errors import EditError
from ..files import why
from .local import MOST_OPENINGS, sent
from .stage import EndsTheProcess, Progress, Result, Stage, Unit, Worker

MOST_BLOCKS = 10_000  # into which Ray divides the units; each is given to one worker
STARTS = 3  # of a cluster of our own
NUMBER, UNIT, RESULT = "number", "unit", "result"


@dataclass(frozen=True)
class OnRay:
    """workers: (at least, at most) so many actors; at most None: as many as the cluster has room for. gpus, cpus: of each, which may be
    parts of one. address: of a cluster that runs; None: one is started here."""

    workers: tuple[int, int | None] = (1, None)
    gpus: float = 0
    cpus: float = 0.5
    address: str | None = None

    def run(self, stage: Stage[Unit, Result], units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """As `Runner.run`; all units are held in memory. A unit's progress is told when it is finished."""
        rows = [{NUMBER: number, UNIT: pickle.dumps(unit)} for number, unit in enumerate(units)]
        if not rows:
            return
        finished: dict[int, Any] = {}
        following = 0
        with cluster(self.address):
            for number, result, reported in self.answers(stage, rows):
                if isinstance(result, Raised):
                    raise result.error
                if number < following or number in finished:  # after the death of a worker a block may come twice
                    continue
                finished[number] = result
                if reported:
                    progress(number, *reported)
                while following in finished:
                    yield finished.pop(following)
                    following += 1

    def answers(self, stage: Stage, rows: list[dict[str, Any]]) -> Iterator[tuple[int, Any, Any]]:
        """(number, result, the last report) of every unit, as they come."""
        import ray.data
        from ray.data import ActorPoolStrategy

        least, most = self.workers
        pool = ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=1)
        needs: dict[str, Any] = {"num_cpus": self.cpus} | ({"num_gpus": self.gpus} if self.gpus else {})
        units = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
        answers = units.map_batches(Actor, fn_constructor_args=(pickle.dumps(stage),), batch_size=1, compute=pool, **needs)
        for batch in answers.iter_batches(batch_size=None, prefetch_batches=0):
            for number, result in zip(batch[NUMBER], batch[RESULT]):
                yield int(number), *pickle.loads(result)


@dataclass(frozen=True)
class Raised:
    """In the place of a result: what ends the run. Raised within an actor it would be tried again."""

    error: Exception


class Actor:
    """What Ray keeps in each of its workers; the stage is opened when the first unit comes."""

    def __init__(self, stage: bytes):
        """stage: pickled, for an error in here would be Ray's to tell."""
        self.stage = stage
        self.worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        return {NUMBER: batch[NUMBER], RESULT: [pickle.dumps(self.answer(pickle.loads(unit))) for unit in batch[UNIT]]}

    def answer(self, unit: Any) -> tuple[Any, tuple[int, int, str] | None]:
        """→ (the result, or what was raised, and the last report)."""
        last = None

        def report(done: int, total: int, doing: str) -> None:
            nonlocal last
            last = done, total, doing

        try:
            if self.worker is None:
                self.worker = pickle.loads(self.stage).open(None)
            return self.worker(unit, report), last
        except EndsTheProcess:
            os._exit(1)
        except Exception as e:
            return Raised(sent(e)), last


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Within the block this process is part of a cluster, the one that it joined before if it has. Raises EditError where there is none at
    the address."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read when Ray is imported
    import ray
    from ray.data import DataContext

    joined = ray.is_initialized()
    if not joined:
        join(address)
    data = DataContext.get_current()
    data.enable_progress_bars = False
    data.max_consecutive_actor_init_deaths = MOST_OPENINGS  # a process killed while it starts would end the run
    data.execution_no_progress_timeout_s = -1  # and so would half an hour in which no unit is finished
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with redirect_stdout(sys.stderr):  # where Ray tells of workers that have ended
            yield
    except ray.exceptions.RayError as e:
        raise EditError(f"Ray ended the run: {why(e)}. The same command goes on from here.") from e
    finally:
        if not joined:
            ray.shutdown()


def join(address: str | None) -> None:
    """A cluster of our own is started anew where its start takes too long: one that ends on this machine slows it."""
    for left in reversed(range(1 if address else STARTS)):
        try:
            start(address)
            return
        except EditError:
            if not left:
                raise


def start(address: str | None) -> None:
    import ray

    try:
        ray.init(address or "local", include_dashboard=None if address else False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as e:  # Ray raises many, some of them of no class of their own
        ray.shutdown()
        where = f"at {address}" if address else "to start here"
        hint = " One that asks for a token needs RAY_AUTH_MODE=token." if address else ""
        raise EditError(f"There is no Ray cluster {where}: {why(e)}.{hint}") from e
