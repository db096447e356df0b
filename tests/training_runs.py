"""The command `train` in processes of its own, forked from one that has imported everything, on networks as small as they get."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["ip2p.cli.train", "ip2p.training.train", "torch.utils.tensorboard"])
SECONDS = 300  # after which a command counts as hanging
STAGES = ("autoencoder", "text_to_image", "edit")
STEPS = 8
TINY = {
    "threads": 1,
    "save_every": 3,
    "keep": 3,
    "log_every": 1,
    "tensorboard": False,
    "half": False,
    "model": {
        "vae": {"channels": [32] * 4, "layers": 1, "groups": 8},
        "unet": {"channels": [32, 32], "layers": 1, "attention": [0], "heads": 2},
        "text": {"width": 32, "layers": 1, "heads": 2, "vocabulary": 560},
    },
    "data": {"pairs": "scenes", "scenes": 8},
    "stages": {
        "autoencoder": dict(steps=STEPS, batch_size=2, size=32, resize=[32, 40], learning_rate=1e-3, ema=0.9, edges=0.5),
        "text_to_image": dict(steps=STEPS, batch_size=2, size=32, flip=0, cache=True, train_text=True, learning_rate=1e-3, ema=0.9),
        "edit": dict(steps=STEPS, batch_size=2, size=32, variants=2, cache=True, learning_rate=1e-3, ema=0.9, gradient_clip=1.0),
    },
    "validation": {"every": 4, "rows": 2, "steps": 2},
}


def write_config(path: Path, **changes) -> Path:
    """TINY with these changes; a stage of None is left out. → the file."""
    config = OmegaConf.merge(TINY, changes)
    config.stages = {name: stage for name, stage in config.stages.items() if stage is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, path)
    return path


def only(stage: str, **settings) -> dict:
    """The stages of TINY but for this one left out."""
    return {name: settings if name == stage else None for name in STAGES}


def child(argv: list[str], said: str, environment: dict[str, str], limits: dict[int, int]) -> None:
    os.setsid()  # as a shell starts it: a signal to the group reaches its workers too
    os.environ.update(environment)
    for file, number in ((said + ".out", 1), (said + ".err", 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    from ip2p.__main__ import main

    torch.set_num_threads(1)
    gc.freeze()  # what was imported before is no garbage, and takes long to look through
    raise SystemExit(main(argv))


class Command:
    """`python -m ip2p train …`, running. limits: of `resource`, by their number."""

    def __init__(self, *argv: str | Path, said: Path, environment: dict[str, str] | None = None, limits: dict[int, int] | None = None):
        self.said = said
        self.process = FORKS.Process(
            target=child, args=(["train", *map(str, argv)], str(said), {"OMP_NUM_THREADS": "1", **(environment or {})}, limits or {})
        )
        self.process.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def read(self, suffix: str) -> str:
        path = Path(f"{self.said}{suffix}")
        return path.read_text() if path.exists() else ""

    @property
    def out(self) -> str:
        return self.read(".out")

    @property
    def errors(self) -> list[str]:
        """Lines on stderr, without the bar's."""
        return [line for line in self.read(".err").replace("\r", "\n").splitlines() if line.strip() and "%|" not in line]

    def wait_until(self, moment: Callable[[], bool]) -> bool:
        """False when the command ended first."""
        deadline = time.monotonic() + SECONDS
        while not moment():
            if not self.process.is_alive():
                return moment()
            assert time.monotonic() < deadline, f"the command hangs: {self.errors}"
            time.sleep(0.0005)
        return True

    def status(self) -> int:
        """Of its end; negative after a signal."""
        self.process.join(SECONDS)
        assert self.process.exitcode is not None, f"the command hangs: {self.errors}"
        return self.process.exitcode

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self.process.join()


def ended(*argv: str | Path, said: Path, **options) -> Command:
    """A command that ended well."""
    command = Command(*argv, said=said, **options)
    assert command.status() == 0, (command.out, command.errors)
    return command


def losses(run: Path, stage: str = "edit") -> list[float]:
    """Of every step that the run's log has."""
    return [json.loads(line)["loss"] for line in (run / stage / "log.jsonl").read_text().splitlines()]


def tensors(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Of every safetensors file below the folder, caches left out."""
    files = sorted(path for path in folder.rglob("*.safetensors") if "cache" not in path.parts)
    return {str(path.relative_to(folder)): load_file(path) for path in files}
