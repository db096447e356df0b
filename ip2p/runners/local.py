"""A process for each device of this machine. A unit that takes its process down is begun again in a new one; no process outlives the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ..errors import EditError
from .stage import EndsTheProcess, Progress, Result, Stage, Unit

MOST_OPENINGS = 3  # in a row that may end a process
MOST_DEATHS = 100  # of processes over one unit: its items are set aside long before
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # a process with CUDA can't be forked


@dataclass(frozen=True)
class Local:
    """devices: as torch names them, one for each process; the same one may be there twice."""

    devices: Sequence[str | None]

    def run(self, stage: Stage[Unit, Result], units: Iterable[Unit], progress: Progress) -> Iterator[Result]:
        """As `Runner.run`."""
        context = multiprocessing.get_context(multiprocessing.get_start_method(allow_none=True) or METHOD)
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([type(stage).__module__])
        todo = Todo(units)
        seats = [Seat(context, stage, device) for device in self.devices]
        try:
            yield from results(seats, todo, progress)
        finally:
            for seat in seats:
                seat.end()


class Todo:
    """The units that are to be worked on, numbered, those first whose process has ended."""

    def __init__(self, units: Iterable[Any]):
        self.units, self.again, self.deaths = enumerate(units), deque[tuple[int, Any]](), Counter[int]()

    def next(self) -> tuple[int, Any] | None:
        return self.again.popleft() if self.again else next(self.units, None)

    def put_back(self, number: int, unit: Any) -> None:
        """Raises EditError for one that has ended too many processes."""
        self.deaths[number] += 1
        if self.deaths[number] >= MOST_DEATHS:
            raise EditError(
                f"A part of the work ended {MOST_DEATHS} processes, and what in it does so can't be told: see the system's log."
            )
        self.again.append((number, unit))


class Seat:
    """A device, the process that is there, and the unit that it is given."""

    def __init__(self, context: Any, stage: Stage, device: str | None):
        self.context, self.stage, self.device = context, stage, device
        self.process: Any = None
        self.connection: Any = None
        self.work: tuple[int, Any] | None = None
        self.opened, self.failed_openings = False, 0
        self.reported: tuple[int, int, str] | None = None

    def give(self, number: int, unit: Any) -> None:
        if self.process is None:
            self.start()
        self.work, self.reported = (number, unit), None
        with suppress(OSError):  # where the process has ended, as `heard` says
            self.connection.send(unit)

    def start(self) -> None:
        self.connection, theirs = self.context.Pipe()
        self.process = self.context.Process(target=serve, args=(theirs, self.stage, self.device), daemon=True)
        self.process.start()
        theirs.close()
        self.opened = False

    def heard(self) -> tuple[str, Any]:
        """The next message of the process, which "died" where it has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return "died", None

    def died(self) -> None:
        """Raises EditError where no process can be kept running."""
        how = ended_by(self.process)
        self.failed_openings = 0 if self.opened else self.failed_openings + 1
        self.end()
        if self.failed_openings >= MOST_OPENINGS:
            where = f" on {self.device}" if self.device else ""
            raise EditError(f"The process{where} ended {MOST_OPENINGS} times before it could begin ({how}): is there enough memory?")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process.close()
            self.connection.close()
        self.process = self.connection = self.work = None


def results(seats: Sequence[Seat], todo: Todo, progress: Progress) -> Iterator[Any]:
    """In the order of the units."""
    finished: dict[int, Any] = {}
    following = 0
    while True:
        for seat in seats:
            if seat.work is None and (work := todo.next()) is not None:
                seat.give(*work)
        working = {seat.connection: seat for seat in seats if seat.work is not None}
        if not working:
            return
        for connection in wait(list(working)):
            if (ended := taken_from(working[connection], todo, progress)) is not None:
                number, finished[number] = ended
        while following in finished:
            yield finished.pop(following)
            following += 1


def taken_from(seat: Seat, todo: Todo, progress: Progress) -> tuple[int, Any] | None:
    """What the process at the seat says → the unit that it has ended, with its result. Raises what ends the run."""
    assert seat.work is not None
    number, unit = seat.work
    kind, content = seat.heard()
    if kind == "died":
        if seat.reported:
            progress(number, 0, *seat.reported[1:])
        seat.died()
        todo.put_back(number, unit)
    elif kind == "raised":
        raise content
    elif kind == "opened":
        seat.opened, seat.failed_openings = True, 0
    elif kind == "reported":
        seat.reported = content
        progress(number, *content)
    elif kind == "finished":
        seat.work = None
        return number, content
    return None


def ended_by(process: Any) -> str:
    process.join()
    code = process.exitcode
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


# In the process of a device


def serve(connection: Connection, stage: Stage, device: str | None) -> None:
    """Opens the stage and works on what comes, until it is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its processes
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        worker = stage.open(device)
        connection.send(("opened", None))
        for unit in units_from(connection):
            connection.send(("finished", worker(unit, lambda *report: connection.send(("reported", report)))))
    except EndsTheProcess as e:
        print(e, file=sys.stderr)
    except Exception as e:
        with suppress(EOFError, OSError):  # where the run is gone
            connection.send(("raised", sent(e)))
            connection.recv()  # what was sent has to be read before this process may end


def units_from(connection: Connection) -> Iterator[Any]:
    """Until the run is gone."""
    with suppress(EOFError, OSError):
        while True:
            yield connection.recv()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def sent(error: Exception) -> Exception:
    """What can be sent of it: a sentence for people, a package that is missing, or where in the code it was."""
    if isinstance(error, EditError):
        return EditError(str(error))
    if isinstance(error, ImportError):
        return ImportError(str(error), name=error.name)
    return RuntimeError(f"in the process of a device:\n{''.join(traceback.format_exception(error))}")
