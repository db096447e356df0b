"""python -m ip2p reproduce OUT [key=value …]: the paper in miniature, from captions to edited pictures."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError
from .exits import INTERRUPTED, note, say

if TYPE_CHECKING:
    from ..reproduction.recipe import Step

MIXED = True  # options may stand among the settings
LOCK = "lock"
NEEDED = {"peft": "data", "rapidfuzz": "data", "gguf": "data", "pyarrow": "train", "datasets": "train", "accelerate": "train", "matplotlib": "evaluate"}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="the folder to write, or to go on with: what is finished there stays")
    add("changes", nargs="*", metavar="key=value", help="settings in place of the recipe's, for instance pairs.samples=4; steps that they change are made anew, and what follows from them")  # fmt: skip
    add("--recipe", metavar="RECIPE", help="miniature, short, which runs all stages in minutes on too little to learn from, or a yaml file (default: the folder's own, in a new one miniature)")  # fmt: skip
    add("--arms", action="store_true", help="then also the comparisons: the same without Prompt-to-Prompt, without the filter, and with exact pairs (default: off)")  # fmt: skip
    add("--dry-run", action="store_true", help="print the steps, their commands and what they are planned to take, and stop (default: off)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """What is interrupted goes on where it stopped. Raises EditError."""
    from ..reproduction.recipe import keep, settings_of, steps_of

    if args.output.exists() and not args.output.is_dir():
        raise EditError(f"{args.output} is a file: OUT is the folder to write.")
    settings = settings_of(args.recipe, args.output, args.changes)
    steps = steps_of(settings, args.arms)
    if args.arms and not any(step.arm for step in steps):
        raise EditError("The folder's recipe has no comparisons: leave --arms out, or name one that has by --recipe.")
    check_packages()
    if args.dry_run:
        print("\n".join(plan_lines(steps, args.output, settings.places)))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        return make(steps, args.output, settings.places, lambda: keep(settings, args.output))
    except KeyboardInterrupt:
        return say("Interrupted. The same command goes on from here.", INTERRUPTED)


def check_packages() -> None:
    """Raises EditError before an hour has passed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        extras = ",".join(sorted({NEEDED[name] for name in missing}))
        raise EditError(f"This needs {', '.join(missing)}: pip install 'sd-webui-instruct-edit[{extras}]'.")


def make(steps: Sequence[Step], output: Path, places: int, keep: Callable[[], None]) -> int:
    """keep: writes down the settings. Raises EditError and KeyboardInterrupt."""
    from ..files import take_lock, why
    from ..reproduction.records import ANEW, FINISHED, Records
    from ..reproduction.side_by_side import duration as lasting
    from ..reproduction.side_by_side import pace_of, run_all, seconds_left
    from ..reproduction.story import write_story
    from ..reproduction.story_table import table_lines

    records = Records(output)
    states = {step.name: records.state(step) for step in steps}
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = open(output / LOCK, "ab")  # noqa: SIM115, every step keeps it open
    except OSError as e:
        raise EditError(f"{output} could not be written: {why(e)}.") from e
    with lock:
        try:
            take_lock(lock)
        except BlockingIOError:
            raise EditError(
                f"Another start works in {output}, or steps that a killed one left there: wait until they have ended."
            ) from None
        keep()
        if anew := [name for name, state in states.items() if state == ANEW]:
            note(f"Made anew, since other settings made them: {', '.join(anew)}.")
        done = {name for name, state in states.items() if state == FINISHED}
        left = [step for step in steps if step.name not in done]
        seconds = seconds_left(left, done, places, {}, pace_of(steps, done, records))
        note(f"{len(left)} of {len(steps)} steps are to be done, about {lasting(seconds)}, in {places} places.")
        run_all(steps, output, places, lock, note, lambda: write_story(output, steps))
        page = write_story(output, steps)
    print("\n".join(table_lines(output, steps)))
    print(f"Wrote {page}.")
    return 0


def plan_lines(steps: Sequence[Step], output: Path, places: int) -> list[str]:
    """Each step with its state and its command, and how long all that is left takes."""
    from ..reproduction.records import FINISHED, Records
    from ..reproduction.side_by_side import duration, pace_of, seconds_left

    records = Records(output)
    states = {step.name: records.state(step) for step in steps}
    lines = []
    for step in sorted(steps, key=lambda step: (bool(step.arm), step.stage)):
        lines.append(f"{step.stage}  {step.name}: {step.title}{f', {step.arm}' if step.arm else ''} ({duration(step.seconds)}, {step.threads} thread{'s' * (step.threads > 1)}; {states[step.name]})")  # fmt: skip
        lines.append(f"   {step.shown}")
    done = {name for name, state in states.items() if state == FINISHED}
    left = seconds_left([step for step in steps if step.name not in done], done, places, {}, pace_of(steps, done, records))
    return [*lines, f"{len(steps) - len(done)} of {len(steps)} steps are to be done, about {duration(left)}, in {places} places."]
