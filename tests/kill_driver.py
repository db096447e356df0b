"""Runs commands one after the other, each in a fork of one process that has imported everything, and kills them where it is told to.

A line of JSON on stdin is a command: argv, or fetch with its arguments; copies: how many run at once; root: the folder whose changes are
counted; kill_at: of these changes the one at which the command kills itself, a file having been opened and nothing written to it; kill_after: seconds; kills: seconds, whom, "driver" (the command) or "worker"
(one of the processes that work for it), and "start", or "work" where the seconds count from the first item that was begun; largest_file: bytes, as on a full disk. A line of JSON on stdout is what came of it; left:
those that worked for the command and are still there ten seconds after it.
"""

import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


def import_all() -> None:
    import datasets  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from diffusers import AutoencoderKL, DDIMScheduler, EulerAncestralDiscreteScheduler, UNet2DConditionModel  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPTextModel, CLIPTokenizer, LlamaForCausalLM  # noqa: F401

    from ip2p.checkpoints import convert, fetch  # noqa: F401
    from ip2p.cli import edit, evaluate, model  # noqa: F401
    from ip2p.dataset import open, parquet_writer, photos  # noqa: F401
    from ip2p.dataset.generated import pair_stage  # noqa: F401
    from ip2p.dataset.instructions import local_writer, make  # noqa: F401
    from ip2p.editor import Editor  # noqa: F401
    from ip2p.evaluation import evaluate as run  # noqa: F401


def run(command: dict, said: int, counts: int) -> None:
    """In the fork; does not return."""
    for stream in (1, 2):
        os.dup2(said, stream)
    changes = 0

    def count(event: str, args: tuple) -> None:
        nonlocal changes
        if event not in CHANGES or not isinstance(args[0], (str, os.PathLike)) or not os.fspath(args[0]).startswith(command["root"]):
            return
        if event == "open" and not (args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        changes += 1
        if changes == command.get("kill_at"):
            if event == "open":  # it is killed with the file opened, emptied if it is written anew, and nothing written yet
                os.open(args[0], args[2], 0o666)
            os.kill(os.getpid(), signal.SIGKILL)

    if "largest_file" in command:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["largest_file"],) * 2)
    multiprocessing.set_start_method("fork")  # a process for a device has everything imported too
    sys.addaudithook(count)
    status = 70
    try:
        from ip2p.__main__ import main

        if "fetch" in command:
            from ip2p.checkpoints.fetch import fetch
            from ip2p.errors import EditError

            target, url, sha256 = command["fetch"]
            try:
                fetch(Path(target), url, sha256)
                status = 0
            except EditError as e:
                print(e, file=sys.stderr)
                status = 2
        else:
            status = main(command["argv"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counts, b"%d\n" % changes)
        os._exit(status)


def outcome(command: dict) -> dict:
    started = time.monotonic()
    (counts, to_counts), (said, to_said) = os.pipe(), os.pipe()  # a file would be too large on a full disk
    children = []
    for _ in range(command.get("copies", 1)):
        if not (child := os.fork()):
            run(command, to_said, to_counts)
        children.append(child)
    os.close(to_counts)
    os.close(to_said)
    killed, started_by = 0, set()
    for moment in command.get("kills", ()):
        met, workers = kill(Path(command["root"]), children[0], started, *moment)
        killed += met
        started_by.update(workers)
    if "kill_after" in command:
        time.sleep(command["kill_after"])
        for child in children:
            os.kill(child, signal.SIGKILL)
    with os.fdopen(said, "rb") as output, os.fdopen(counts, "rb") as numbers:
        text, changes = output.read().decode(errors="replace"), [int(line) for line in numbers]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    ended = time.monotonic()
    while (left := [process for process in started_by if is_running(process)]) and time.monotonic() - ended < 10:
        time.sleep(0.05)
    return {"statuses": statuses, "said": text, "changes": changes, "seconds": ended - started, "killed": killed, "left": left}


def kill(root: Path, child: int, started: float, seconds: float, whom: str, since: str) -> tuple[bool, list[int]]:
    """Waits until then, and for a worker until there is one → whether it was killed before the command ended, and the workers that
    there were then."""
    began = time.time() - (time.monotonic() - started)
    while since == "work" and is_running(child) and not has_begun(root, began):
        time.sleep(0.005)
    counted_from = time.monotonic() if since == "work" else started
    while time.monotonic() - counted_from < seconds and is_running(child):
        time.sleep(0.005)
    workers = workers_of(child)
    while whom == "worker" and is_running(child) and not workers:
        time.sleep(0.02)
        workers = workers_of(child)
    if met := is_running(child):
        os.kill(random.choice(workers) if whom == "worker" else child, signal.SIGKILL)
    return met, workers


def has_begun(root: Path, since: float) -> bool:
    """Whether a worker has begun an item: it leaves a file (`ip2p/runners/attempts.py`)."""
    for file in root.glob("*/.ip2p-begun/*.json"):
        with suppress(OSError):
            if file.stat().st_mtime > since:
                return True
    return False


def workers_of(child: int) -> list[int]:
    """Not the processes of Ray itself, which end up to a minute after it."""
    return [p for p in descendants(child) if cmdline(p) == cmdline(child) or cmdline(p).startswith(b"ray::MapWorker")]


def descendants(process: int) -> list[int]:
    try:
        below = [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return [one for child in below for one in (child, *descendants(child))]


def cmdline(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def is_running(process: int) -> bool:
    """A zombie is not: it waits for whoever started it."""
    return cmdline(process) != b""


if __name__ == "__main__":
    torch.set_num_threads(1)
    import_all()
    for line in sys.stdin:
        print(json.dumps(outcome(json.loads(line))), flush=True)
