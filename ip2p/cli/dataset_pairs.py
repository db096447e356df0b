"""python -m ip2p dataset pairs: instructions and captions to picture pairs, by a text-to-image model with Prompt-to-Prompt."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..edit import MAX_SCALE, MAX_STEPS
from ..errors import EditError
from ..files import refuse_existing
from ..images import MAX_SIDE, MIN_SIDE
from . import filter_options, runner_options
from .dataset_filter import tell
from .exits import INTERRUPTED, name_bad, say

if TYPE_CHECKING:
    from ..dataset.generated.inspection import Inspection
    from ..dataset.generated.make_pairs import Counted, Wanted
    from ..dataset.generated.pair_stage import DrawPairs

SAMPLES, BATCH, SHARD, STEPS, SIZE, HELD_OUT = 100, 4, 4, 100, 512, 0.1
P, GUIDANCE = "0.1,0.9", "7.5,15"
MULTIPLE = 8  # of a side: what the autoencoder makes one latent of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("rows", type=Path, metavar="ROWS", help="rows {id, input, edit, output} as .jsonl or .parquet, or a folder of dataset instructions")
    add("--model", required=True, metavar="SD", help="a text-to-image model of SD 1.x's kind: a checkpoint file, a diffusers folder, or a name on the hub")  # fmt: skip
    add("--output", type=Path, required=True, metavar="DIR", help="the folder to write, or to go on with; several processes may share it. With --filter the .parquet file of the good pairs, all of which are in a folder beside it")  # fmt: skip
    add("--samples", type=int, default=SAMPLES, metavar="N", help=f"pairs drawn of each row (default: {SAMPLES})")
    add("--p", default=P, metavar="LOW,HIGH", help=f"share of the steps in which the second picture attends as the first does, drawn for each pair; one number for all (default: {P})")  # fmt: skip
    add("--guidance", default=GUIDANCE, metavar="LOW,HIGH", help=f"scale of the caption, drawn for each pair; one number for all (default: {GUIDANCE})")  # fmt: skip
    add("--steps", type=int, default=STEPS, help=f"sampling steps (default: {STEPS})")
    add("--sampler", default="Euler a", help="Euler a, Euler, DPM++ 2M, DDIM or UniPC (default: Euler a)")
    add("--size", type=int, default=SIZE, metavar="N", help=f"of both sides in pixels (default: {SIZE})")
    add("--batch", type=int, default=BATCH, metavar="N", help=f"pairs at a time (default: {BATCH})")
    add("--shard", type=int, default=SHARD, metavar="N", help=f"rows in a file; what a kill costs at most (default: {SHARD})")
    add("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    add("--held-out", type=float, default=HELD_OUT, metavar="SHARE", help=f"captions kept from training, where rows name no split (default: {HELD_OUT})")  # fmt: skip
    add("--licence", metavar="NAME", help="of the model, for the set's card (default: what its file says, else unknown)")
    add("--precision", choices=("fp32", "fp16", "bf16"), help="of the networks (default: fp16 on CUDA, fp32 on the CPU)")
    add("--retry", action="store_true", help="draw the rows again that were set aside; the pairs of the others stay")
    add("--dry-run", action="store_true", help="print what it would take and stop")
    add("--safety", action="store_true", help="leave out pairs that the model's own safety checker flags, and count them")
    add("--filter", action="store_true", help="then keep the good pairs as dataset filter does, and write them to --output")
    add("--stop-after", type=int, metavar="N", help="end a row once N of its samples reach the thresholds of --scorer: cheaper, and no longer the best of all (default: never)")  # fmt: skip
    add("--force", action="store_true", help="overwrite the file that --filter writes")
    filter_options.add_choice(parser)
    filter_options.add_scorers(parser, device=False)
    runner_options.add_arguments(parser, default=runner_options.LOCAL)


def run(args: argparse.Namespace) -> int:
    """What is interrupted goes on with the shards that are not finished."""
    check(args)
    try:
        return make(args)
    except KeyboardInterrupt:
        return say("Interrupted. The same command goes on from here.", INTERRUPTED)


def make(args: argparse.Namespace) -> int:
    from ..checkpoints.load import input_channels
    from ..dataset.generated.make_pairs import counted, draw_all, finish
    from ..dataset.generated.pair_estimate import estimated
    from ..dataset.generated.pair_run import PairRun
    from ..dataset.generated.text_to_image import TextToImage

    wanted = wanted_by(args)
    there = counted(wanted)
    runner = runner_options.runner_of(args)
    if args.dry_run:
        model = TextToImage.load(args.model, runner_options.devices_of(args)[0], args.precision)
        for line in estimated(wanted, there, model):
            print(line)
        return 0
    TextToImage.check_channels(name_of(args.model), input_channels(args.model))
    stage = stage_of(args, wanted, there)
    folder = PairRun(stage.folder, stage.settings)
    if args.retry:
        folder.take_up_again()
    if not draw_all(wanted, there, stage, folder, runner):
        print("The shards that are left are drawn by other processes, the last of which finishes the set.")
        return 0
    pairs, aside = finish(there, wanted, folder)
    name_bad("rows", args.rows, there.bad)
    print(f"Wrote {stage.folder}: {pairs:,} pairs{f'; {aside:,} rows were set aside' if aside else ''}.")
    if args.filter:
        keep_good_ones(args, stage.folder)
    return 0


def keep_good_ones(args: argparse.Namespace, folder: Path) -> None:
    """Raises EditError as `dataset filter` does."""
    from ..dataset.filtering.filter_run import Filtering, filtered
    from ..dataset.filtering.score_store import ScoreStore, folder_beside
    from ..dataset.open import open_pairs

    scorers = filter_options.scorers_of(args, runner_options.devices_of(args)[0])
    filtering = Filtering(folder, filter_options.selection_of(args, scorers), args.output, args.force)
    tell(filtered(open_pairs(folder, in_order=True), scorers, ScoreStore(folder_beside(folder)), filtering), args.output)


def folder_of(args: argparse.Namespace) -> Path:
    """Of all pairs."""
    output: Path = args.output.absolute()
    return output.with_name(f"{output.stem}-pairs") if args.filter else output


def wanted_by(args: argparse.Namespace) -> Wanted:
    from ..dataset.generated.make_pairs import Wanted
    from ..dataset.generated.text_to_image import Sampling
    from ..editor import SAMPLERS

    if args.sampler not in SAMPLERS:
        raise EditError(f"There is no sampler “{args.sampler}”. Known ones: {', '.join(SAMPLERS)}.")
    p, guidance = range_of("--p", args.p, 1), range_of("--guidance", args.guidance, MAX_SCALE)
    sampling = Sampling(args.size, args.steps, args.sampler)
    return Wanted(args.rows, args.samples, args.batch, args.shard, p, guidance, sampling, args.held_out, args.seed)


def stage_of(args: argparse.Namespace, wanted: Wanted, there: Counted) -> DrawPairs:
    """With paths that mean the same in another process."""
    import torch

    from ..dataset.generated.pair_stage import DrawPairs
    from ..runners import Attempts

    output = folder_of(args)
    dtype = args.precision or ("fp32" if "cpu" in runner_options.devices_of(args)[0] else "fp16")
    inspection, looked_at = inspection_of(args)
    settings = settings_of(args, wanted, there, dtype) | looked_at
    place = runner_options.anywhere(args.model)
    return DrawPairs(wanted, output, settings, place, dtype, Attempts(output), torch.get_num_threads(), inspection)


def inspection_of(args: argparse.Namespace) -> tuple[Inspection, dict[str, Any]]:
    """And what is said of it in the run's settings."""
    from ..dataset.filtering.score_store import identity
    from ..dataset.generated.inspection import Inspection, StopAfter
    from ..dataset.generated.safety import check_has_one

    if args.safety:
        check_has_one(args.model)
    safety = runner_options.anywhere(args.model) if args.safety else None
    said: dict[str, Any] = {"safety": "the model's own checker" if safety else None, "stop_after": None}
    if args.stop_after is None:
        return Inspection(safety=safety), said
    scorers = filter_options.scorers_of(args, runner_options.devices_of(args)[0])
    thresholds = filter_options.selection_of(args, scorers).thresholds
    stop = StopAfter(args.stop_after, tuple(map(scorer_anywhere, args.scorer)), filter_options.judging_of(args), thresholds)
    by = [identity(scorer) for scorer in scorers]
    return Inspection(stop, safety), said | {"stop_after": {"good": stop.good, "at_least": dict(thresholds.at_least), "by": by}}


def scorer_anywhere(scorer: str) -> str:
    """Its name with a path that means the same in another process."""
    kind, _, place = scorer.partition("=")
    return f"{kind}={runner_options.anywhere(place)}" if place else scorer


def name_of(model: str) -> str:
    path = Path(model).expanduser()
    return path.stem if path.is_file() else path.resolve().name if path.is_dir() else model


def settings_of(args: argparse.Namespace, wanted: Wanted, there: Counted, dtype: str) -> dict[str, Any]:
    """What has to be the same when a run goes on, and where the pairs come from."""
    from ..checkpoints.fingerprint import fingerprint_of
    from ..editor import DTYPES

    return {
        "model": name_of(args.model),
        "model_fingerprint": fingerprint_of(args.model, named=False),
        "model_licence": args.licence or licence_in(Path(args.model).expanduser()),
        "rows": args.rows.name,
        "row_count": there.rows,
        "rows_digest": there.digest,
        "samples": wanted.samples,
        "p": list(wanted.p),
        "guidance": list(wanted.guidance),
        "steps": wanted.sampling.steps,
        "sampler": wanted.sampling.sampler_name,
        "size": wanted.sampling.size,
        "seed": wanted.seed,
        "batch": wanted.batch,
        "shard": wanted.shard,
        "precision": str(DTYPES[dtype]).removeprefix("torch."),
    }


def licence_in(model: Path) -> str:
    from ..checkpoints.header import is_safetensors, safetensors_metadata

    said = safetensors_metadata(model) if model.is_file() and is_safetensors(model) else {}
    return said.get("modelspec.license", "unknown")


def check(args: argparse.Namespace) -> None:
    """Raises EditError for an option that can't be used, before anything is read."""
    for option, number in (("--samples", args.samples), ("--batch", args.batch), ("--shard", args.shard)):
        if number < 1:
            raise EditError(f"{option} is at least 1, not {number}.")
    if not 1 <= args.steps <= MAX_STEPS:
        raise EditError(f"--steps is from 1 to {MAX_STEPS}, not {args.steps}.")
    if not MIN_SIDE <= args.size <= MAX_SIDE or args.size % MULTIPLE:
        raise EditError(f"--size is a multiple of {MULTIPLE} from {MIN_SIDE} to {MAX_SIDE}, not {args.size}.")
    filter_options.check(args)
    check_filter(args)
    if not 0 <= args.held_out < 1:
        raise EditError(f"--held-out is a share from 0 to below 1, not {args.held_out:g}.")
    runner_options.check(args)


def check_filter(args: argparse.Namespace) -> None:
    """Raises EditError for options of the filter that don't go together."""
    if args.stop_after is not None and args.stop_after < 1:
        raise EditError(f"--stop-after is at least 1, not {args.stop_after}.")
    if args.stop_after is not None and not args.scorer:
        raise EditError("--stop-after needs --scorer, by which samples are good.")
    given = {"--scorer": args.scorer, "--at-least": args.at_least, "--thresholds": args.thresholds, "--by": args.by}
    if not args.filter and args.stop_after is None and (unused := [option for option, value in given.items() if value]):
        raise EditError(f"{unused[0]} is of --filter and --stop-after: add one of them, or leave it out.")
    if args.filter != (args.output.suffix.lower() == ".parquet"):
        raise EditError(f"--output is a .parquet file with --filter and a folder without it, not {args.output.name}.")
    if args.filter:
        refuse_existing(args.output, args.force)


def range_of(option: str, text: str, highest: float) -> tuple[float, float]:
    """“0.1,0.9”, or one number for both. Raises EditError."""
    try:
        low, high = (numbers * 2)[:2] if len(numbers := [float(part) for part in text.split(",")]) == 1 else numbers
    except ValueError:
        raise EditError(f"{option} is a number, or two with a comma between, not {text}.") from None
    if not 0 <= low <= high <= highest:
        raise EditError(f"{option} is from 0 to {highest:g}, the lower number first, not {text}.")
    return low, high
