"""python -m ip2p evaluate: edit models on a pair set, on large photographs at full size, or on synthetic scenes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.packaged import SMALL
from ..edit import read_scales
from ..errors import EditError
from ..evaluation.options import (
    EDITS,
    IMAGE_SCALES,
    MODE_FIELDS,
    ONLY,
    PROCEDURAL_SIZE,
    SCOPED,
    SIZE,
    STRENGTHS,
    TEXT_SCALES,
    WITHIN,
    EvaluationOptions,
    FullSizeOptions,
    RegionOptions,
    SamplingConfig,
    SceneOptions,
    procedural_scales,
)

FULL_SIZE_ONLY = ("longest_side", "kinds", "per_photo", "edits")
NOT_OF_MODES = ("steps", "sampler", "text_scale", "image_scale", "sdedit", "compare")
REGION_EDITS = {"none": (), "region": (WITHIN,), "scoped": (SCOPED,), "only": (ONLY,)}
LOWEST = {"count": 1, "per_photo": 1, "longest_side": 64, "steps": 1, "batch": 1, "sweep_photos": 0, "sweep_scenes": 1, "pictures": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text_scales, image_scales = procedural_scales("")
    own_text_scales, _ = procedural_scales(SMALL.name)
    add(
        "--model",
        action="append",
        required=True,
        metavar="M",
        help="an edit model: a diffusers folder, a checkpoint file or a name on the hub; several times to compare",
    )
    add("--data", metavar="PAIRS", help="a pair set: parquet, a folder, or a name on the hub")
    add(
        "--full-size",
        type=Path,
        metavar="FOLDER",
        help="in place of --data, a folder of large photographs: how near results at their own size, enlarged and with the photograph's "
        "detail, come to procedural edits of them",
    )
    add(
        "--regions",
        type=Path,
        metavar="FOLDER",
        help="in place of --data, a folder of photographs with a clear subject: how well the region that an instruction means is found, and "
        "what an edit gains by keeping to it",
    )
    add(
        "--teacher",
        metavar="M",
        help="the edit model that --model are students of: how near their one pass comes to its three, over pairs of scales, with one edit of each "
        "photograph",
    )
    add(
        "--scenes",
        choices=("plain", "varied"),
        help="in place of --data, synthetic scenes that no training saw, whose results are judged by their pixels: one thing whose colour or "
        "whose ground's changes, or varied ones with edits of size, place and texture too, in words that no training has",
    )
    add(
        "--sweep-scenes",
        type=int,
        metavar="N",
        help=f"with --scenes: others on which the scales are chosen among those given (default: {SceneOptions.sweep})",
    )
    add("--longest-side", type=int, metavar="N", help="with --full-size or --edits only: photographs are shrunk to it (default: 2400)")
    add(
        "--kinds",
        metavar="A,B",
        help="with --full-size or --regions: kinds of procedural edits (default: of the small checkpoint's thirty all, or those of a region)",
    )
    add(
        "--per-photo",
        type=int,
        metavar="N",
        help="with --full-size, --regions or --mode: kinds that each photograph gets (default: all that suit it)",
    )
    add(
        "--edits",
        choices=("true", "model", "both", "none", "region", "scoped", "only"),
        help="with --full-size: the true edit made small at 512 px, through the model's autoencoder alone, the model's own, or both; with "
        "--regions: none, to measure the map alone, within the region, with guidance scoped by it, or both; or only, to compare small "
        "subjects edited by themselves with those edited within the picture (default: both)",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the report; an unfinished run continues there")
    add("--split", help="a split of the pair set (default: all of it)")
    add("--count", type=int, metavar="N", help="the first N pairs, or photographs (default: all)")
    add(
        "--text-scale",
        metavar="S",
        help=f"one or several, with commas (default: {listed(TEXT_SCALES)}; for procedural edits {listed(text_scales)}, or {listed(own_text_scales)} with {SMALL.name})",
    )
    add(
        "--image-scale",
        metavar="S",
        help="one or several, with commas. Every text scale is combined with every image scale; for procedural edits each list is swept "
        f"with the first value of the other (default: {listed(IMAGE_SCALES)}; for procedural edits {listed(image_scales)})",
    )
    add("--steps", type=int, help="sampling steps; the paper takes 100 (default: 20)")
    add("--sampler", help="Euler a, Euler, DPM++ 2M, DDIM or UniPC (default: Euler a)")
    add(
        "--seed",
        type=int,
        help=f"the seed of every pair follows from it; with --scenes that of the scenes (default: 0; {SceneOptions.seed})",
    )
    add("--size", metavar="WxH|N", help=f"width and height, or the longest side (default: {SIZE}; for procedural edits {PROCEDURAL_SIZE})")
    add("--batch", type=int, default=16, metavar="N", help="results in one pass of the network (default: 16)")
    add(
        "--scorer",
        default="auto",
        help="clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, dino=FOLDER, conse, efficientnet, none, or auto: CLIP if it is on this machine (default: auto)",
    )
    add(
        "--phrasings",
        default="train",
        metavar="NAME",
        help="train, held-out (phrasings kept out of training), or a YAML file with lists of phrasings by kind of edit, in which {value} is "
        "the edit's parameter and {thing} the photograph's subject (default: train)",
    )
    add("--sweep-photos", type=int, default=4, metavar="N", help="procedural edits: photographs the scales are swept over (default: 4)")
    add(
        "--mode",
        action="append",
        default=[],
        metavar="A=B,…",
        help="a way of sampling, several times to compare them on procedural edits from the same noise, with the first and with the first of "
        f"the same sampler and steps: {', '.join(('model', *MODE_FIELDS))}, for example “sampler=DPM++ 2M, steps=10, image-scale=1”; what it does not "
        "say is as suits its model",
    )
    add("--sdedit", metavar="MODEL", help="also SDEdit with this text-to-image model: a diffusers folder or a name on the hub")
    add("--strengths", default=listed(STRENGTHS), help=f"SDEdit's strengths (default: {listed(STRENGTHS)})")
    add("--compare", action="append", default=[], type=Path, metavar="DIR", help="a finished run on the same pairs to compare with")
    add(
        "--pictures",
        type=int,
        default=8,
        metavar="N",
        help="pairs, or photographs of procedural edits, whose results are shown (default: 8)",
    )
    add("--device", help="cuda or cpu (default: cuda where there is one)")
    add("--precision", choices=("fp32", "fp16", "bf16"), help="of the networks (default: fp16 on CUDA, fp32 on the CPU)")
    add("--force", action="store_true", help="begin again in a folder that holds another run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit status 1 when rows or photographs could not be read. Raises EditError."""
    if [args.data, args.full_size, args.regions, args.scenes].count(None) != 3:
        raise EditError(
            "Name what to measure on: a pair set, --data PAIRS, a folder of photographs, --full-size FOLDER or --regions FOLDER, or --scenes."
        )
    if args.sweep_scenes and not args.scenes:
        raise EditError("--sweep-scenes goes with --scenes.")
    if args.scenes:
        from ..evaluation.scene_run import evaluate_scenes

        evaluate_scenes(scene_options(args))
        return 0
    args.seed = args.seed or 0
    if args.regions:
        options = region_options(args)
        if ONLY in options.edits:
            from ..evaluation.only_region import evaluate_only_region

            return 1 if evaluate_only_region(options) else 0
        from ..evaluation.regions import evaluate_regions

        return 1 if evaluate_regions(options) else 0
    if args.full_size:
        from ..evaluation.full_size import evaluate_full_size

        return 1 if evaluate_full_size(full_size_options(args)) else 0
    if given := [name for name in FULL_SIZE_ONLY if getattr(args, name) is not None and not (args.mode and name == "per_photo")]:
        raise EditError(f"--{given[0].replace('_', '-')} goes with --full-size or --regions.")
    if args.teacher:
        from ..evaluation.beside_teacher import evaluate_beside_teacher

        return 1 if evaluate_beside_teacher(options_of(args)) else 0
    if args.mode:
        if given := [name for name in NOT_OF_MODES if getattr(args, name)]:
            raise EditError(f"With --mode what --{given[0].replace('_', '-')} says stands in the modes, or is not measured: leave it out.")
        from ..evaluation.modes import evaluate_modes

        return 1 if evaluate_modes(options_of(args)) else 0
    from ..evaluation.evaluate import evaluate

    return 1 if evaluate(options_of(args)) else 0


def options_of(args: argparse.Namespace) -> EvaluationOptions:
    """Raises EditError for arguments out of range."""
    from .edit import size_of

    check(args)
    return EvaluationOptions(
        models=args.model,
        data=args.data,
        output=args.output,
        split=args.split,
        count=args.count,
        text_scales=scales(args.text_scale, "text scales"),
        image_scales=scales(args.image_scale, "image scales"),
        size=size_of(args.size) if args.size else None,
        sampling=SamplingConfig(**{name: value for name in ("steps", "sampler", "batch") if (value := getattr(args, name)) is not None}),
        seed=args.seed,
        scorer=args.scorer,
        phrasings=args.phrasings,
        sweep_photos=args.sweep_photos,
        sdedit=args.sdedit,
        strengths=scales(args.strengths, "strengths") or STRENGTHS,
        compare=args.compare,
        pictures=args.pictures,
        teacher=args.teacher,
        modes=args.mode,
        per_photo=args.per_photo,
        device=args.device,
        precision=args.precision,
        force=args.force,
    )


def full_size_options(args: argparse.Namespace) -> FullSizeOptions:
    """Raises EditError for arguments out of range."""
    check(args)
    text_scales, image_scales = scales(args.text_scale, "text scales"), scales(args.image_scale, "image scales")
    if any(numbers and len(numbers) > 1 for numbers in (text_scales, image_scales)):
        raise EditError("--full-size takes one text scale and one image scale.")
    shared = photograph_options(args, "With --full-size --size is the longest side of the model's own edits, for example 512.")
    if args.edits not in (None, "both", *EDITS):
        raise EditError(f"With --full-size --edits is one of {', '.join(EDITS)} and both, not “{args.edits}”.")
    edits = {} if args.edits in (None, "both") else {"edits": (args.edits,)}
    return FullSizeOptions(
        photographs=args.full_size,
        text_scale=text_scales[0] if text_scales else None,
        image_scale=image_scales[0] if image_scales else None,
        **shared | edits,
    )


def region_options(args: argparse.Namespace) -> RegionOptions:
    """Raises EditError for arguments out of range."""
    check(args)
    wrong_size = "With --regions --size is the longest side of photographs and edits, for example 512."
    if args.longest_side is not None and args.edits != ONLY:
        raise EditError(wrong_size)
    shared = photograph_options(args, wrong_size)
    if args.edits not in (None, "both", *REGION_EDITS):
        raise EditError(f"With --regions --edits is one of {', '.join(REGION_EDITS)} and both, not “{args.edits}”.")
    edits = {"edits": REGION_EDITS[args.edits]} if args.edits in REGION_EDITS else {}
    return RegionOptions(photographs=args.regions, **shared | edits)


def scene_options(args: argparse.Namespace) -> SceneOptions:
    """Raises EditError for arguments out of range, and for those of other measurements."""
    check(args)
    others = ("split", "size", "sdedit", "mode", "teacher", *FULL_SIZE_ONLY)
    if wrong := next((name for name in others if getattr(args, name) not in (None, [])), None):
        raise EditError(f"--{wrong.replace('_', '-')} is not for --scenes: leave it out.")
    given = {
        "count": args.count, "sweep": args.sweep_scenes, "seed": args.seed, "steps": args.steps, "sampler": args.sampler,
        "text_scales": scales(args.text_scale, "text scales"), "image_scales": scales(args.image_scale, "image scales"),
    }  # fmt: skip
    return SceneOptions(
        models=args.model, output=args.output, scenes=args.scenes, batch=args.batch,
        compare=args.compare, device=args.device, precision=args.precision, force=args.force,
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip


def photograph_options(args: argparse.Namespace, wrong_size: str) -> dict[str, Any]:
    """What is measured on a folder of photographs has in common, without what was left out. Raises EditError, with the sentence
    `wrong_size`, for a size of two sides."""
    from .edit import size_of

    size = size_of(args.size)
    if "width" in size:
        raise EditError(wrong_size)
    asked = {name: getattr(args, name) for name in ("count", "per_photo", "longest_side", "steps", "sampler", "seed", "device", "precision", "force")}  # fmt: skip
    asked["kinds"] = args.kinds and tuple(filter(None, map(str.strip, args.kinds.split(","))))
    given = {name: value for name, value in asked.items() if value is not None}
    return {"models": args.model, "output": args.output, "size": size.get("longest_side"), **given}


def check(args: argparse.Namespace) -> None:
    """Raises EditError for numbers that are too low, and for an output that is no folder."""
    for name, lowest in LOWEST.items():
        value = getattr(args, name)
        if value is not None and value < lowest:
            raise EditError(f"--{name.replace('_', '-')} must be at least {lowest}, not {value}.")
    if args.output.exists() and not args.output.is_dir():
        raise EditError(f"{args.output} is a file: --output is the folder of the report.")


def scales(text: str | None, name: str) -> list[float] | None:
    """“1.2, 1.5” → [1.2, 1.5]; None when nothing is asked for. Raises EditError."""
    if not text:
        return None
    numbers = read_scales(text, name)
    if not numbers:
        raise EditError(f"There are no {name}: give numbers with commas between them.")
    return numbers


def listed(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)
