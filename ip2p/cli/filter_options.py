"""What the verbs ask for scorers and thresholds by."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError
from .exits import note

if TYPE_CHECKING:
    from ..dataset.filtering.selection import Selection
    from ..scorers.judge import Judging
    from ..scorers.pair_scorer import PairScorer

SCORERS = "auto, clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, dino=FOLDER, conse, efficientnet, edges, ssim, judge=MODEL, or none"
MOST, REQUESTS, RETRIES, TIMEOUT = 4, 8, 6, 120.0
PAPERS = "for CLIP the paper's: clip_sim_image=0.7, and 0.2 of clip_sim_0, clip_sim_1 and clip_sim_dir"


def add_scorers(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """device: whether the verb has no --device yet."""
    add = parser.add_argument
    add("--scorer", action="append", metavar="NAME", help=f"{SCORERS}, which takes the scores that the set has; may be given several times (default: auto, CLIP where it is on this machine)")  # fmt: skip
    if device:
        add("--device", help="cuda, cuda:1 or cpu (default: cuda where there is one)")
    judge = parser.add_argument_group("judge", "--scorer judge=MODEL: any server that speaks OpenAI's API and sees pictures. The key is read from OPENAI_API_KEY.")  # fmt: skip
    add = judge.add_argument
    add("--url", help="as http://127.0.0.1:8000/v1 (default: OPENAI_BASE_URL, else OpenAI's)")
    add("--question", metavar="TEXT", help="asked of each pair, whose answer is a number from 0 to 10; {edit}, {input} and {output} stand for its texts (default: how well exactly the edit is carried out)")  # fmt: skip
    add("--requests", type=int, default=REQUESTS, metavar="N", help=f"under way at a time (default: {REQUESTS})")
    add("--retries", type=int, default=RETRIES, metavar="N", help=f"of a request that failed (default: {RETRIES})")
    add("--timeout", type=float, default=TIMEOUT, metavar="S", help=f"seconds for an answer (default: {TIMEOUT:g})")


def add_choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--at-least", action="append", default=[], metavar="NAME=NUMBER", help=f"a score's threshold; may be given several times (default: {PAPERS})")  # fmt: skip
    add("--thresholds", type=Path, metavar="FILE", help="thresholds that dataset calibrate wrote")
    add("--most", type=int, default=MOST, metavar="N", help=f"pairs kept of each row, 0 for all (default: {MOST})")
    add("--by", metavar="NAME", help="the score of which a row's highest are kept (default: the direction, clip_sim_dir)")


def check(args: argparse.Namespace) -> None:
    """Raises EditError for an option that can't be used, before anything is read."""
    for option, number, least in (
        ("--requests", args.requests, 1),
        ("--retries", args.retries, 0),
        ("--most", getattr(args, "most", 0), 0),
    ):
        if number < least:
            raise EditError(f"{option} is at least {least}, not {number}.")
    if not 0 < args.timeout < float("inf"):
        raise EditError(f"--timeout is above 0, not {args.timeout:g}.")


def judging_of(args: argparse.Namespace) -> Judging:
    from ..endpoint import Service
    from ..scorers.judge import QUESTION, Judging

    return Judging(Service(args.url, args.requests, args.retries, args.timeout), args.question or QUESTION)


def scorers_of(args: argparse.Namespace, on: str | None) -> list[PairScorer]:
    """on: the device. Raises EditError for one that is unknown or can't be read, and for two that give the same score."""
    from ..scorers.by_name import device_named, pair_scorer_named

    judging, device = judging_of(args), device_named(on)
    scorers = [scorer for name in args.scorer or ["auto"] if (scorer := pair_scorer_named(name, device, judging)) is not None]
    names = [name for scorer in scorers for name in scorer.scores]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise EditError(f"Two scorers give {twice}: name one of them.")
    return scorers


def selection_of(args: argparse.Namespace, scorers: list[PairScorer]) -> Selection:
    """Raises EditError where there are no thresholds."""
    from ..dataset.filtering.selection import Selection
    from ..dataset.filtering.thresholds import note_on, thresholds_of

    thresholds = thresholds_of(args.thresholds, args.at_least, scorers)
    if sentence := note_on(thresholds, scorers):
        note(sentence)
    names = [name for scorer in scorers for name in scorer.scores]
    direction = next((name for name in names if name.endswith("_sim_dir")), names[0] if names else "clip_sim_dir")
    return Selection(thresholds, args.most or None, args.by or direction)
