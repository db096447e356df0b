"""CPU time of an edit by the three passes and by a student of them, part by part, in one run.

    python tests/bench/student.py --student FILE [--model small] [--photo PHOTO] [--size 512] [--pairs 7]

One thread, by turns, medians of the turns' ratios. The photograph is drawn unless one is given. What is left beside the denoising, which alone a
student makes shorter, is named: reading the checkpoint, the words, the autoencoder both ways, and the photograph's detail.
"""

# ruff: noqa: E402 (threads and the allocator are set before torch is imported)

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import process

process.prepare()

import torch

from ip2p.checkpoints.defaults import defaults_for
from ip2p.edit import FULL, Edit
from ip2p.editor import Editor, Run
from ip2p.editor import editor as editing
from ip2p.images import read_image
from webui import drawn_picture

DENOISING, REST = "denoising", "else"
PARTS = {
    "the words": (Editor, "encode_text"),
    "the picture to a latent": (Editor, "encode_picture"),
    DENOISING: (Run, "denoise"),
    "the latent to a picture": (Editor, "decode"),
    "the photograph's detail": (editing, "finished"),
}
TWENTY = {"sampler_name": "Euler a", "scheduler": "Automatic", "steps": 20}
# name, what of its own settings the student's edit changes, rows, the ratio of its denoising to the exact one's that it should keep
CASES = (("student, Euler a, 20 steps", TWENTY, 20, 0.4), ("student, its own settings", {}, 4, 0.1))


class Clock:
    """CPU seconds of the process by part; what runs within another part counts as itself alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.open: list[str] = []
        self.since = 0.0

    def tell(self) -> None:
        now = time.process_time()
        if self.open:
            self.seconds[self.open[-1]] = self.seconds.get(self.open[-1], 0.0) + now - self.since
        self.since = now

    def around(self, part: str, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.tell()
            self.open.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.tell()
                self.open.pop()

        return timed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="small", help="the edit model of three passes")
    parser.add_argument("--student", required=True, help="the edit model of one")
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    photo = read_image(args.photo) if args.photo else drawn_picture(900, 600)
    start = time.process_time()
    teacher = Editor.load(args.model, "cpu")
    loading = time.process_time() - start
    student = Editor.load(args.student, "cpu")
    common = dict(image=photo, instruction="make it winter", seed=1, longest_side=args.size, result=FULL)

    def edit_of(model: str, **said: Any) -> Edit:
        return Edit(**{**defaults_for(model).settings, **common, **said})

    exact = edit_of(args.model, **TWENTY)
    print(
        f"{photo.width}×{photo.height} px, working at {args.size}, one thread, medians of {args.pairs} turns; reading the checkpoint {loading:.2f} s"
    )
    print(
        f"{'CPU seconds':34}{'rows':>5}" + "".join(f"{part:>25}" for part in (*PARTS, REST)) + f"{'denoising':>11}{'limit':>7}{'whole':>7}"
    )
    turns = []
    for i in range(args.pairs + 1):
        sides = [("exact", teacher, exact), *((name, student, edit_of(args.student, **said)) for name, said, _, _ in CASES)]
        turns.append({name: timed(editor, edit) for name, editor, edit in (sides if i % 2 else sides[::-1])})
    turns = turns[1:]  # the first warms all up
    missed = 0
    for name, rows, limit in (("exact", 60, 1.0), *((name, rows, limit) for name, _, rows, limit in CASES)):
        parts = [statistics.median(turn[name][0][part] for turn in turns) for part in (*PARTS, REST)]
        counted = turns[0][name][1]
        denoising = statistics.median(turn[name][0][DENOISING] / turn["exact"][0][DENOISING] for turn in turns)
        whole = statistics.median(sum(turn[name][0].values()) / sum(turn["exact"][0].values()) for turn in turns)
        failed = denoising > limit or counted != rows
        missed += failed
        print(
            f"{name:34}{counted:5}"
            + "".join(f"{seconds:25.3f}" for seconds in parts)
            + f"{denoising:11.3f}{limit:7.2f}{whole:7.3f}{'  missed' if failed else ''}"
        )
    if (busy := os.getloadavg()[0]) > 1.5:
        print(f"the machine was busy: load {busy:.1f} on {os.cpu_count()} cores")
    return 1 if missed else 0


def timed(editor: Editor, edit: Edit) -> tuple[dict[str, float], int]:
    """(CPU seconds by part, rows of the UNet) of one edit."""
    clock = Clock()
    before = {(owner, name): getattr(owner, name) for owner, name in PARTS.values()}
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, clock.around(part, before[owner, name]))
    try:
        clock.around(REST, editor.edit)(edit)
    finally:
        for (owner, name), function in before.items():
            setattr(owner, name, function)
    return {part: clock.seconds.get(part, 0.0) for part in (*PARTS, REST)}, sum(editor.rows)


if __name__ == "__main__":
    sys.exit(main())
