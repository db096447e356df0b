"""A stage of work as small as it gets, which tests run in other processes: squares of numbers, some of which misbehave."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ip2p.runners import Attempts, EndsTheProcess, EndsTheRun, TookItsProcess, on_device


@dataclass(frozen=True)
class Squares:
    """attempts: noted in the runs that set poisoned numbers aside. opens: None
    where its process ends then. seconds: that a number takes."""

    attempts: Attempts
    kills: tuple[int, ...] = ()  # its process, every time
    kills_once: tuple[int, ...] = ()
    faults: tuple[int, ...] = ()  # of the device
    raises: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()  # the run
    opens: bool | None = True
    seconds: float = 0.0

    def open(self, device):
        self.note("opened", device)
        if self.opens is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.opens:
            raise EndsTheRun("There is no model.")
        return self.square

    def square(self, number: int, report):
        if number in self.ends:
            raise EndsTheRun("The disk is full.")
        try:
            with self.attempts.of(str(number)), on_device():
                self.note("begun", number)
                if number in self.kills or (number in self.kills_once and not self.noted("killed", number)):
                    self.note("killed", number)
                    os.kill(os.getpid(), signal.SIGKILL)
                if number in self.faults:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                if number in self.raises:
                    raise ValueError(f"{number} is poisoned")
                report(1, 2, "")
                time.sleep(self.seconds)
                report(2, 2, "")
                return number**2
        except EndsTheProcess:
            raise
        except (TookItsProcess, ValueError) as e:
            return str(e)

    def note(self, what: str, about: object) -> None:
        with open(self.attempts.folder / f"{what}.txt", "a") as file:
            file.write(f"{os.getpid()} {about}\n")

    def noted(self, what: str, about: object) -> bool:
        return any(line.split()[1] == str(about) for line in noted(self.attempts.folder, what))


def noted(folder: Path, what: str) -> list[str]:
    file = folder / f"{what}.txt"
    return file.read_text().splitlines() if file.exists() else []
