"""python -m ip2p dataset instructions: captions to instructions and edited captions, by a language model; and its fine-tuning."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import runner_options
from .exits import INTERRUPTED, name_bad, note, say
from .instruction_options import add_arguments, check, price_of

if TYPE_CHECKING:
    from ..dataset.instructions.figures import Figures
    from ..dataset.instructions.make import Wanted
    from ..dataset.instructions.rules import Rules
    from ..dataset.instructions.writer import Writer

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """What is interrupted goes on where it stopped."""
    check(args)
    try:
        if args.finetune:
            return tune(args)
        if args.merge:
            return merge(args)
        return make(args)
    except KeyboardInterrupt:
        return say("Interrupted. The same command goes on from here.", INTERRUPTED)


def make(args: argparse.Namespace) -> int:
    from ..dataset.instructions.estimate import estimated
    from ..dataset.instructions.make import Wanted, ask_all, asks, finish
    from ..dataset.instructions.run_folder import RunFolder

    part = tuple(map(int, args.part.split("/")))
    wanted = Wanted(args.captions, args.column, args.per_caption, (part[0], part[1]), args.held_out, args.seed)
    rules = rules_of(args)
    bad: list[tuple[str, str]] = []
    total = sum(1 for _ in asks(wanted, bad.append))
    if args.dry_run:
        local = (lambda: writer_of(args)) if args.writer == "local" else None
        for line in estimated(wanted, total, local, args.batch, price_of(args), args.requests, args.examples):
            print(line)
        return 0
    writer = writer_of(args)
    with RunFolder(args.output, settings_of(args, wanted, writer)) as folder:
        folder.remember(total, rules)
        if left := total - len(folder.finished):
            note(f"{left:,} of {total:,} rows are to be written.")
        ask_all(wanted, writer, folder, total)
        figures = finish(args.output, rules, bad)
    name_bad("captions", args.captions, bad)
    tell(args.output, figures)
    return 0


def writer_of(args: argparse.Namespace) -> Writer:
    if args.writer == "local":
        return local_writer_of(args)
    from ..dataset.instructions.endpoint_writer import Asking, EndpointWriter
    from ..endpoint import Service

    service = Service(args.url, args.requests, args.retries, args.timeout, price_of(args), args.max_cost)
    asking = Asking(args.temperature, args.max_tokens, args.examples, args.answer, args.prompt, args.moderation)
    return EndpointWriter(args.model, service, asking)


def local_writer_of(args: argparse.Namespace) -> Writer:
    import torch

    from ..dataset.instructions.local_writer import LocalWriter, Options
    from ..dataset.instructions.spread_writer import AnswerAsks, SpreadWriter
    from ..runners import Attempts

    options = Options(args.temperature, args.batch, args.max_tokens, args.examples, args.candidates)
    if args.runner == runner_options.HERE or args.dry_run:
        return LocalWriter(args.model, options, runner_options.devices_of(args)[0])
    stage = AnswerAsks(runner_options.anywhere(args.model), options, Attempts(args.output.absolute()), torch.get_num_threads())
    return SpreadWriter(LocalWriter(args.model, options), stage, runner_options.runner_of(args))


def settings_of(args: argparse.Namespace, wanted: Wanted, writer: Writer) -> dict[str, Any]:
    """What has to be the same when a run goes on."""
    settings = {
        "captions": args.captions.name,
        "part": args.part,
        "seed": wanted.seed,
        "held_out": wanted.held_out,
        "writer": args.writer,
        "model": writer.model,
        "version": writer.version,
        "prompt": writer.prompt,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
    }
    return settings | ({"batch": args.batch, "candidates": args.candidates} if args.writer == "local" else {})


def rules_of(args: argparse.Namespace) -> Rules:
    from ..dataset.instructions.rules import Rules, read_words

    words = read_words(args.words) if args.words else frozenset()
    return Rules((1, args.max_instruction_words), (1, args.max_output_words), words, args.faithful)


def merge(args: argparse.Namespace) -> int:
    from ..dataset.instructions.make import finish
    from ..dataset.instructions.run_folder import merged

    rules = rules_of(args)
    with merged(args.merge, args.output) as folder:
        folder.remember(len(folder.finished), rules)
        figures = finish(args.output, rules)
    tell(args.output, figures)
    return 0


def tune(args: argparse.Namespace) -> int:
    from ..dataset.instructions.finetune import Tuning, finetune, read_rows

    rows = read_rows(args.finetune)
    tuning = Tuning(args.passes, args.rank, args.learning_rate, args.batch, seed=args.seed, temperature=args.temperature)
    loss = finetune(rows, args.model, args.output, tuning, note)
    print(f"Wrote {args.output}: fine-tuned on {len(rows)} rows, {args.passes} passes, mean loss of the last {loss:.3f}.")
    return 0


def tell(folder: Path, figures: Figures) -> None:
    from ..dataset.instructions import page
    from ..dataset.instructions.run_folder import PAGE, ROWS, read_settings

    for line in page.lines(read_settings(folder), figures):
        print(line)
    print(f"Wrote {folder / ROWS}: {figures.kept:,} rows; {folder / PAGE} shows them.")
