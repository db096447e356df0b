"""python -m ip2p evaluate: edit models on a pair set."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..checkpoints.small import NAME, defaults_for
from ..errors import EditError

TEXT_SCALES, IMAGE_SCALES = "7.5", "1.0,1.2,1.4,1.6,1.8,2.0,2.2"  # InstructPix2Pix's own
STRENGTHS = "0.3,0.5,0.7,0.9"
SIZE, COMPUTED_SIZE = "512", "256"


def computed_scales(model: str) -> tuple[str, str]:
    """Text scales and image scales for computed edits: what suits the model, and a sweep around it."""
    suits = defaults_for(model)
    text = ",".join(f"{suits.text_scale * share:g}" for share in (1, 0.4, 0.8, 1.2))
    return text, f"{suits.image_scale:g},1,1.2,1.8,2.2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    text_scales, image_scales = computed_scales("")
    add(
        "--model",
        action="append",
        required=True,
        metavar="M",
        help="an edit model: a diffusers folder, a checkpoint file or a name on the hub; several times to compare",
    )
    add("--data", required=True, metavar="PAIRS", help="a pair set: parquet, a folder, or a name on the hub")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the report; a run that ended goes on there")
    add("--split", help="a split of the pair set; all of it when left out")
    add("--count", type=int, metavar="N", help="the first N pairs, or photographs of computed edits; all when left out")
    add(
        "--text-scale",
        metavar="S",
        help=f"one or several, with commas; {TEXT_SCALES}, of computed edits {text_scales}, or {computed_scales(NAME)[0]} for {NAME}",
    )
    add(
        "--image-scale",
        metavar="S",
        help=f"{IMAGE_SCALES}, of computed edits {image_scales}. Every text scale goes with every image scale; of computed edits each list is gone through with the first of the other",
    )
    add("--steps", type=int, default=20, help="20 when left out; the paper makes 100")
    add("--sampler", default="Euler a", help="Euler a, Euler, DPM++ 2M, DDIM or UniPC")
    add("--seed", type=int, default=0, help="from which every pair's own is made, 0 when left out")
    add("--size", metavar="WxH|N", help=f"width and height, or the longest side: {SIZE}, of computed edits {COMPUTED_SIZE}")
    add("--batch", type=int, default=16, metavar="N", help="results in one pass of the network, 16 when left out")
    add(
        "--scorer",
        default="auto",
        help="clip, clip=FOLDER, open_clip=MODEL/WEIGHTS, conse, efficientnet, none; auto takes CLIP where it is on this machine",
    )
    add(
        "--phrasings",
        default="train",
        metavar="NAME",
        help="train, held-out (phrasings kept out of training), or a YAML file with lists of phrasings by kind of edit, in which {value} is the edit's parameter and {thing} the photograph's subject",
    )
    add("--sweep-photos", type=int, default=4, metavar="N", help="computed edits: photographs the scales are swept over, 4 when left out")
    add("--sdedit", metavar="MODEL", help="SDEdit beside it, with this text-to-image model: a diffusers folder or a name on the hub")
    add("--strengths", default=STRENGTHS, help=f"SDEdit's strengths, {STRENGTHS} when left out")
    add("--compare", action="append", default=[], type=Path, metavar="DIR", help="a finished run on the same pairs, to put beside this one")
    add(
        "--pictures",
        type=int,
        default=8,
        metavar="N",
        help="pairs, or photographs of computed edits, whose results are shown, 8 when left out",
    )
    add("--device", help="cuda where there is one, else cpu")
    add("--precision", choices=("fp32", "fp16", "bf16"), help="fp16 on CUDA and fp32 on the CPU when left out")
    add("--force", action="store_true", help="begin anew in a folder with another run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for name, low in (("count", 1), ("steps", 1), ("batch", 1), ("sweep_photos", 0), ("pictures", 0)):
        if getattr(args, name) is not None and getattr(args, name) < low:
            raise EditError(f"--{name.replace('_', '-')} must be at least {low}, not {getattr(args, name)}.")
    if args.output.exists() and not args.output.is_dir():
        raise EditError(f"{args.output} is a file: --output is the folder of the report.")
    from ..evaluation.evaluate import evaluate

    return evaluate(args)
