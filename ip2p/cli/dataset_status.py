"""python -m ip2p dataset status: how far the stages of a data set are, what was kept, and why the rest was not."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import EditError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "folder",
        type=Path,
        metavar="DIR",
        help="what dataset instructions, pairs or filter writes to, finished or not, or a folder of such",
    )
    add("--pictures", type=Path, metavar="DIR", help="also draw there, of a filter, the histograms of its scores and sheets of kept and rejected pairs")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from ..dataset.filtering.filter_status import draw, is_filter_run

    stages = list(stages_in(args.folder))
    for n, (folder, told) in enumerate(stages):
        if len(stages) > 1:
            print(f"{chr(10) if n else ''}{folder.name}")
        for line in told(folder):
            print(line)
    if args.pictures:
        filters = [folder for folder, _ in stages if is_filter_run(folder)]
        if not filters:
            raise EditError(f"{args.folder} was not filtered: there are no scores to draw.")
        for folder in filters:
            target = args.pictures / folder.name if len(filters) > 1 else args.pictures
            print(f"Wrote {', '.join(map(str, draw(folder, target)))}.")
    return 0


def stages_in(folder: Path) -> Iterator[tuple[Path, Callable[[Path], list[str]]]]:
    """The folder, or those in it, and the filter beside each; with what tells of them. Raises EditError where there is none."""
    from ..dataset.open import SCORES

    if own := stage_of(folder):
        yield folder, own
        beside = folder.with_name(f"{folder.name}{SCORES}")
        if told := stage_of(beside):
            yield beside, told
        return
    found = [(part, told) for part in sorted(folder.iterdir()) if part.is_dir() and (told := stage_of(part))] if folder.is_dir() else []
    if not found:
        raise EditError(f"{folder} is no run of instructions, of pairs or of a filter, and holds none.")
    yield from found


def stage_of(folder: Path) -> Callable[[Path], list[str]] | None:
    """What tells of the stage whose folder it is; None where it is none's."""
    from ..dataset.filtering import filter_status
    from ..dataset.generated import pair_run, pair_status

    if pair_run.is_pair_run(folder):
        return pair_status.told
    if filter_status.is_filter_run(folder):
        return filter_status.told
    return lines_of_instructions if (folder / pair_run.SETTINGS).is_file() else None


def lines_of_instructions(folder: Path) -> list[str]:
    from ..dataset.instructions.status import told  # which needs packages that the others do not

    return told(folder)
