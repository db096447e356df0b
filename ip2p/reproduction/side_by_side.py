"""Runs the steps of a recipe as processes of their own, side by side where they do not wait for one another."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import EditError, printable
from ..files import why
from .recipe import Step
from .records import FINISHED, Records

PACKAGE_PLACE = Path(__file__).resolve().parents[2]
LOGS = "logs"
GRACE = 20  # seconds in which an interrupted step may save
LOOK_EVERY = 0.2  # seconds
TAIL = 2000  # bytes of a log that are looked at
SAYS_A_PACE = 60  # planned seconds of the finished steps from which they tell how fast this machine is


@dataclass
class Running:
    step: Step
    process: subprocess.Popen
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


def run_all(
    steps: Sequence[Step], output: Path, places: int, lock: IO[bytes], say: Callable[[str], None], told: Callable[[], object]
) -> None:
    """Those that are not finished, in their order as far as there are threads for them. lock: a file that every process keeps open.
    told: is called after each step that has finished. Raises EditError for a step that fails, and KeyboardInterrupt; the others then end
    too, and all go on at the next start."""
    records = Records(output)
    waiting = [step for step in steps if records.state(step) != FINISHED]
    done = {step.name for step in steps} - {step.name for step in waiting}
    running: list[Running] = []
    status = StatusLine()
    try:
        while waiting or running:
            for step in ready(waiting, done, places - sum(one.step.threads for one in running)):
                waiting.remove(step)
                records.begin(step)
                running.append(Running(step, started(step, output, lock)))
            time.sleep(LOOK_EVERY)
            status.show([f"{one.step.name} {one.seconds:.0f} s {last_line(log_of(output, one.step))}" for one in running])
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                status.clear()
                finish(one, output, records)
                done.add(one.step.name)
                took = {other.step.name: other.seconds for other in running}
                left = seconds_left([other.step for other in running] + waiting, done, places, took, pace_of(steps, done, records))
                say(f"Stage {one.step.stage}, {one.step.name}: {one.step.title}, {one.seconds:,.0f} s; about {duration(left)} left.")
                told()
    except BaseException as e:
        status.clear()
        # Ctrl-C has reached the others too, and they save.
        stop(running, GRACE if isinstance(e, KeyboardInterrupt) else 0)
        for one in running:
            records.spend(one.step, one.seconds, finished=False)
        raise


def ready(waiting: Sequence[Step], done: set[str], free: int) -> list[Step]:
    """Those that can begin now. The first that lacks nothing but threads keeps others from taking them."""
    found = []
    for step in waiting:
        if done.issuperset(step.inputs):
            if step.threads > free:
                break
            free -= step.threads
            found.append(step)
    return found


def pace_of(steps: Sequence[Step], done: set[str], records: Records) -> float:
    """What the finished ones took, as a ratio to what was planned for them; 1 while they are too few."""
    finished = [step for step in steps if step.name in done]
    planned, took = sum(step.seconds for step in finished), sum(records.seconds(step) for step in finished)
    return took / planned if planned >= SAYS_A_PACE and took else 1.0


def seconds_left(steps: Sequence[Step], done: set[str], places: int, took: Mapping[str, float], pace: float = 1.0) -> float:
    """Until all are finished if each takes `pace` times the seconds that are planned for it. took: seconds, of those that run."""
    waiting, done, now = list(steps), set(done), 0.0
    ends: dict[str, tuple[float, Step]] = {}
    while waiting or ends:
        begun = [step for step in waiting if step.name in took] if not now and not ends else []
        free = places - sum(step.threads for step in begun) - sum(step.threads for _, step in ends.values())
        for step in begun + ready([step for step in waiting if step not in begun], done, free):
            waiting.remove(step)
            ends[step.name] = now + max(pace * step.seconds - took.get(step.name, 0.0), 0.0), step
        name = min(ends, key=lambda name: ends[name][0])
        now = ends.pop(name)[0]
        done.add(name)
    return now


def started(step: Step, output: Path, lock: IO[bytes]) -> subprocess.Popen:
    """Raises EditError."""
    log = log_of(output, step)
    environment = os.environ | {"OMP_NUM_THREADS": str(max(step.threads // step.processes, 1)), "PYTHONPATH": os.pathsep.join(filter(None, (str(PACKAGE_PLACE), os.environ.get("PYTHONPATH"))))}  # fmt: skip
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as written:
            return subprocess.Popen(
                [sys.executable, "-m", "ip2p", *step.command], cwd=output, env=environment, stdin=subprocess.DEVNULL, stdout=written,
                stderr=subprocess.STDOUT, pass_fds=(lock.fileno(),) if os.name == "posix" else (),
            )  # fmt: skip
    except OSError as e:
        raise EditError(f"The step {step.name} could not be begun: {why(e)}.") from e


def finish(one: Running, output: Path, records: Records) -> None:
    """Raises EditError where the process did not end well."""
    step, status = one.step, one.process.returncode
    there = (output / step.result).exists()
    records.spend(step, one.seconds, finished=status == 0 and there)
    if status == 0 and there:
        return
    end = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}" if status else f"left no {step.result}"
    said = last_line(log_of(output, step))
    raise EditError(f"The step {step.name} {end}{f', saying “{said}”' if said else ''}: {log_of(output, step)} has all that it said. The same command goes on from here.")  # fmt: skip


def stop(running: Sequence[Running], patience: float) -> None:
    """Ends those that have not ended by themselves after so many seconds."""
    deadline = time.monotonic() + patience
    for one in running:
        try:
            one.process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            one.process.send_signal(signal.SIGTERM)
    for one in running:
        try:
            one.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            one.process.kill()


def log_of(output: Path, step: Step) -> Path:
    return output / LOGS / f"{step.name}.log"


def last_line(log: Path) -> str:
    """What a step said last, its bar included."""
    try:
        with open(log, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
            lines = re.split(r"[\r\n]+", file.read().decode("utf8", "replace"))
    except OSError:
        return ""
    return printable(next((line.strip() for line in reversed(lines) if line.strip()), ""))[:200]


def duration(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class StatusLine:
    """What the running steps say, in the last line of a terminal."""

    def __init__(self) -> None:
        self.shown = ""

    def show(self, texts: Sequence[str]) -> None:
        if sys.stderr.isatty():
            room = shutil.get_terminal_size().columns - 1
            text = " | ".join(one[: room // max(len(texts), 1) - 3] for one in texts)
            if text != self.shown:
                self.clear()
                self.shown = text
                print(text, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.shown = ""
