"""The options that say where work is done, and the runner that they make: in this process, one for each device, or on a Ray cluster."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError

if TYPE_CHECKING:
    from ..runners import Runner

HERE, LOCAL, RAY = "here", "local", "ray"
CPUS = 0.5  # of an actor: two fit onto a machine with one


def add_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    group = parser.add_argument_group("where it is done", "The results are the same wherever that is.")
    add = group.add_argument
    add("--runner", choices=(HERE, LOCAL, RAY), default=default, help=f"in this process; in a process for each device of this machine; or by actors on a Ray cluster (default: {default})")  # fmt: skip
    add("--device", metavar="NAMES", help="cuda, cpu or several with commas, such as cuda:0,cuda:1, one for each process of --runner local (default: CUDA, all there are, else cpu)")  # fmt: skip
    add("--workers", metavar="MIN,MAX", help="ray: actors at least and at most; one number for both (default: 1 and what the cluster has room for)")  # fmt: skip
    add("--gpus-per-worker", type=float, metavar="N", help="ray: GPUs of an actor, 0.5 for two on one (default: 1 where this machine has one, else 0)")  # fmt: skip
    add("--cpus-per-worker", type=float, default=CPUS, metavar="N", help=f"ray: CPUs of an actor (default: {CPUS})")
    add("--address", metavar="HOST:PORT", help="ray: of a cluster that runs; auto finds this machine's (default: one is started here for the run)")  # fmt: skip


def check(args: argparse.Namespace) -> None:
    """Raises EditError for options that can't be used."""
    given = {"--workers": args.workers, "--gpus-per-worker": args.gpus_per_worker, "--address": args.address}
    if args.runner != RAY and (unused := [option for option, value in given.items() if value is not None]):
        raise EditError(f"{unused[0]} is of --runner ray: add that, or leave it out.")
    if args.runner == RAY and args.device:
        raise EditError("--device is of the other runners: the actors of --runner ray take --gpus-per-worker.")
    if args.runner == HERE and args.device and "," in args.device:
        raise EditError(f"--runner here has one device, not {args.device}: take --runner local, or name one.")
    for option, number in (("--gpus-per-worker", args.gpus_per_worker), ("--cpus-per-worker", args.cpus_per_worker)):
        if number is not None and not 0 <= number < float("inf"):
            raise EditError(f"{option} is at least 0, not {number:g}.")
    workers_of(args.workers)


def anywhere(name: str) -> str:
    """A path as one that means the same in another process; any other name, of a model on the hub for instance, as it is."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def runner_of(args: argparse.Namespace) -> Runner:
    """Raises EditError as `devices_of` does."""
    from ..runners import Here, Local, OnRay

    if args.runner == RAY:
        return OnRay(workers_of(args.workers), gpus_of(args), args.cpus_per_worker, args.address)
    devices = devices_of(args)
    return Local(devices) if args.runner == LOCAL else Here(devices[0])


def devices_of(args: argparse.Namespace) -> list[str]:
    """Of the work, as torch names them; all are of one kind. Raises EditError."""
    import torch

    if args.runner == RAY:
        return ["cuda" if gpus_of(args) else "cpu"]
    if not args.device:
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    devices = [name.strip() for name in args.device.split(",")]
    kinds = set()
    for name in devices:
        try:
            kinds.add(torch.device(name).type)
        except RuntimeError:
            raise EditError(f"--device is cuda, cuda:1 or cpu, or several with commas, not “{name[:80]}”.") from None
    if len(kinds) > 1:
        raise EditError(f"--device names devices of one kind, which give the same pictures, not {args.device}.")
    return devices


def gpus_of(args: argparse.Namespace) -> float:
    import torch

    return args.gpus_per_worker if args.gpus_per_worker is not None else float(torch.cuda.is_available())


def workers_of(text: str | None) -> tuple[int, int | None]:
    """“2,8” → at least 2, at most 8. Raises EditError."""
    if text is None:
        return 1, None
    if not (match := re.fullmatch(r"(\d{1,6})(?:,(\d{1,6}))?", text.strip())):
        raise EditError(f"--workers is a number, or two with a comma between, not {text[:80]}.")
    least, most = int(match[1]), int(match[2] or match[1])
    if not 1 <= least <= most:
        raise EditError(f"--workers is at least 1, the lower number first, not {text}.")
    return least, most
